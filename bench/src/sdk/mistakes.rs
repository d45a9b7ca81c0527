//! Code that does not replay: does the author hear of it on the first workflow task, and where?

use std::time::{Duration, Instant};

use anyhow::Result;
use mainspring_api::v1::{failure::Failure, history::history_event::Attributes};

use crate::requests::fetch_pages;
use crate::scenario::context::Context;
use crate::sdk::load::{fresh, start};
use crate::sdk::process::{Mode, Program};
use crate::sdk::{Rows, SdkOptions};

const MISTAKES: [(&str, &str); 5] = [
    ("tokio-sleep", "Tokio sleep"),
    ("tokio-spawn", "Tokio spawn"),
    ("block", "blocking call"),
    ("clock", "clock"),
    ("panic", "panic"),
];
/// A worker that says nothing until then says nothing.
const PATIENCE: Duration = Duration::from_secs(8);

/// What the author of a wrong workflow gets to see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Told {
    Nothing,
    WithoutLine,
    WithLine,
}

impl Told {
    fn words(self) -> String {
        match self {
            Told::Nothing => "nothing within 8 s",
            Told::WithoutLine => "told, without a line",
            Told::WithLine => "told, with the line",
        }
        .to_owned()
    }
}

pub(super) async fn measure(context: &Context, options: &SdkOptions) -> Result<Rows> {
    let mistakes = if options.sizes.quick { &MISTAKES[4..] } else { &MISTAKES[..] };
    let mut rows = Rows::new();
    for (mistake, name) in mistakes {
        let mut cells = Vec::new();
        for program in &options.programs {
            cells.push(once(context, options, program, mistake).await?.words());
        }
        rows.push((format!("mistake: {name}"), cells));
    }
    Ok(rows)
}

async fn once(context: &Context, options: &SdkOptions, program: &Program, mistake: &str) -> Result<Told> {
    let queue = format!("{}-{:x}", context.name("mistake"), fresh());
    let mut worker = program.worker(&options.address, &queue, Mode::Verifying)?;
    start(context, &queue, "Mistakes", &queue, &format!("{mistake:?}")).await?;
    let began = Instant::now();
    let mut told = Told::Nothing;
    while told == Told::Nothing && began.elapsed() < PATIENCE {
        worker.pid()?;
        tokio::time::sleep(Duration::from_millis(100)).await;
        told = first_task(context, &queue).await?;
    }
    context.terminate(&queue).await;
    Ok(told)
}

/// What the first workflow task that failed says. A task that ends in another way before tells nothing.
async fn first_task(context: &Context, id: &str) -> Result<Told> {
    let mut chunks = Vec::new();
    fetch_pages(&context.calls, &context.namespace, id, "", |page| {
        chunks.push(page);
        Ok(())
    })
    .await?;
    let history = mainspring_api::v1::History::from_chunks(chunks);
    for event in history.decode_events()? {
        if let Some(Attributes::WorkflowTaskFailedEventAttributes(failed)) = event.attributes {
            return Ok(failed.failure.map_or(Told::WithoutLine, |failure| judged(&failure)));
        }
    }
    Ok(Told::Nothing)
}

/// A line of the program's own source; those of libraries and of the standard library do not help.
fn judged(failure: &Failure) -> Told {
    let text = format!("{}\n{}", failure.message, failure.stack_trace);
    if text.contains("src/main.rs:") { Told::WithLine } else { Told::WithoutLine }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_line_of_the_author_counts() {
        let failure = |message: &str| Failure { message: message.to_owned(), ..Failure::default() };
        assert_eq!(judged(&failure("it blocks, at bench/sdk/mainspring/src/main.rs:12:5")), Told::WithLine);
        assert_eq!(judged(&failure("panicked at library/core/src/panicking.rs:80:14")), Told::WithoutLine);
    }
}
