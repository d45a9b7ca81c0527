//! Proves the simulator: each bug that is put in on purpose must be found.

use std::{
    process::ExitCode,
    sync::{Mutex, PoisonError},
};

use mainspring_rt::planted::{LAST, set};
use mainspring_sim::{Report, run};

use crate::{Arguments, each_seed, say};

/// Puts the bugs in one after the other, each until a seed finds it.
pub(crate) fn find_all(arguments: &Arguments) -> ExitCode {
    let mut unfound = 0;
    for planted in 1..=LAST {
        match find(planted, arguments) {
            Some((seed, why)) => say(&format!("planted {planted:>2}: found by seed {seed}: {why}")),
            None => {
                unfound += 1;
                say(&format!("planted {planted:>2}: not found by {} seeds", arguments.seeds));
            }
        }
    }
    if unfound == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// The first seed that finds the bug, and as what.
fn find(planted: u8, arguments: &Arguments) -> Option<(u64, String)> {
    let first = Mutex::new(None::<(u64, String)>);
    each_seed(arguments, |seed| {
        let Some(why) = run_planted(seed, planted).failure else { return true };
        let mut first = first.lock().unwrap_or_else(PoisonError::into_inner);
        if first.as_ref().is_none_or(|(earlier, _)| seed < *earlier) {
            *first = Some((seed, why.lines().next().unwrap_or_default().chars().take(120).collect()));
        }
        false
    });
    first.into_inner().unwrap_or_else(PoisonError::into_inner)
}

fn run_planted(seed: u64, planted: u8) -> Report {
    set(planted);
    run(seed, false)
}
