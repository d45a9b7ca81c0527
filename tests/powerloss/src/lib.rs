//! Runs the shipped program on a disk that loses power and fails, and checks that nothing it acknowledged is lost.
//!
//! - `disk`: `shim.c`, built with `cc` and preloaded into the server, and what it is to do;
//! - `server`: the program as a process; `client`: its API;
//! - `load`: clients and workers that write down what was acknowledged; `check`: compares that with the histories;
//! - `round`: one life of a server that ends without power, and the next one, which has to know everything.
//!
//! Linux only, since the shim is. Start reading at [`Rounds::one`].

#![cfg(target_os = "linux")]
#![expect(clippy::disallowed_methods, reason = "a developer tool, outside the simulator's reach")]

mod check;
mod client;
mod disk;
mod load;
mod random;
mod round;
mod server;

pub use check::{Histories, completed, histories, judge, lost, wait_until_listed};
pub use client::Client;
pub use disk::{Call, Disk, Failing, Shim};
pub use load::{Errand, Errands, Load, Shape};
pub use random::Random;
pub use round::{Report, Rounds, prove};
pub use server::{Ended, Server};
