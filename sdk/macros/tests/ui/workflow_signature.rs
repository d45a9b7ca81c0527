//! Workflows that are wrong in form.

use mainspring::prelude::*;

#[workflow(speed = 9)]
async fn unknown_option(_cx: Ctx) -> Result<()> {
    Ok(())
}

#[workflow(panics = "task")]
async fn unknown_choice(_cx: Ctx) -> Result<()> {
    Ok(())
}

#[workflow]
fn not_async(_cx: Ctx) -> Result<()> {
    Ok(())
}

#[workflow]
async fn without_context(_n: u64) -> Result<()> {
    Ok(())
}

#[workflow]
async fn borrowed_argument(_cx: Ctx, _name: &str) -> Result<()> {
    Ok(())
}

#[workflow]
async fn method(&self, _cx: Ctx) -> Result<()> {
    Ok(())
}

#[workflow]
struct Changing;

#[workflow]
impl Changing {
    async fn run(&mut self, _cx: Ctx) -> Result<()> {
        Ok(())
    }
}

#[workflow]
struct Runless;

#[workflow]
impl Runless {
    fn ran(&self) {}
}

#[workflow]
struct TwiceGiven;

#[workflow]
impl TwiceGiven {
    fn init(_n: u64) -> Self {
        Self
    }

    async fn run(&self, _cx: Ctx, _n: u64) -> Result<()> {
        Ok(())
    }
}

#[workflow]
struct Named;

#[workflow(name = "named")]
impl Named {
    async fn run(&self, _cx: Ctx) -> Result<()> {
        Ok(())
    }
}

fn main() {}
