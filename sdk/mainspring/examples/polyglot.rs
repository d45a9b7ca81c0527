//! Workflows that other languages start, and that start theirs: what joins them is a name, a task queue and JSON.
//!
//! - `polyglot worker ADDRESS` serves the workflow `RustGreeting` and prints `listening`, until it is killed.
//! - `polyglot start ADDRESS NAME LANGUAGE...` starts the greeting of each language and prints the results.
//!
//! `tests/polyglot` runs it beside the same program in Python, TypeScript, Go and Java.
#![expect(clippy::print_stdout, reason = "it prints its results")]

use mainspring::prelude::*;

#[activity(start_to_close = "10s")]
async fn compose(name: String) -> Result<String> {
    Ok(format!("hello {name} from Rust"))
}

#[workflow(name = "RustGreeting")]
async fn greeting(cx: Ctx, name: String) -> Result<String> {
    cx.run(compose(name)).await
}

/// Nothing is known here of another language's workflow but its name and what comes and goes.
fn greeting_in(language: &str, name: &str) -> Call<String> {
    Call::named(format!("{language}Greeting")).arg(name).returns()
}

#[tokio::main]
async fn main() -> Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["worker", address] => {
            let client = Client::connect(Connect::to(address)).await?;
            let worker = Worker::builder(&client, "polyglot-rust").register(greeting::def()).register(compose::def());
            let worker = worker.spawn()?;
            println!("listening");
            worker.ended().await?;
        }
        ["start", address, name, ref languages @ ..] => {
            let client = Client::connect(Connect::to(address)).await?;
            for language in languages {
                let queue = format!("polyglot-{}", language.to_lowercase());
                let call = greeting_in(language, name).id(format!("rust-{language}")).queue(queue);
                println!("{}", client.execute(call).await?);
            }
        }
        _ => return Err(Error::msg("say: worker ADDRESS, or start ADDRESS NAME LANGUAGE...")),
    }
    Ok(())
}
