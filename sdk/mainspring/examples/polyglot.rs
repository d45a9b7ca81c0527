//! Workflows and activities of several languages that use each other: what joins them is a name, a task queue and JSON.
//!
//! - `polyglot worker ADDRESS` serves the workflows `RustGreeting`, `RustTour` and `RustPing` and prints `listening`,
//!   until it is killed.
//! - `polyglot start ADDRESS NAME LANGUAGE...` starts the greeting of each language and prints the results.
//! - `polyglot tour ADDRESS NAME` starts a workflow in Rust whose activities are in Python and TypeScript.
//! - `polyglot ping ADDRESS NAMESPACE` lets a workflow in Rust and one in Python, in that namespace, signal each other.
//!
//! `tests/polyglot` runs it beside the same program in Python, TypeScript, Go and Java.
#![expect(clippy::print_stdout, reason = "it prints its results")]

use mainspring::prelude::*;

const QUEUE: &str = "polyglot-rust";

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

/// Run by a worker in Python.
#[activity(name = "PythonStamp", queue = "polyglot-python", start_to_close = "10s")]
async fn stamp_in_python(name: String) -> Result<String>;

/// Run by a worker in TypeScript.
#[activity(name = "TypeScriptStamp", queue = "polyglot-typescript", start_to_close = "10s")]
async fn stamp_in_typescript(name: String) -> Result<String>;

#[workflow(name = "RustTour")]
async fn tour(cx: Ctx, name: String) -> Result<String> {
    let stamped = cx.run(stamp_in_python(name)).await?;
    cx.run(stamp_in_typescript(stamped)).await
}

/// A workflow's namespace and id.
type Place = (String, String);

#[workflow(name = "RustPing")]
async fn ping(cx: Ctx, to: Place) -> Result<String> {
    let (namespace, workflow_id) = to;
    let own: Place = (cx.info().namespace.clone(), cx.info().workflow_id.clone());
    cx.workflow(workflow_id).namespace(namespace).signal(Signal::named("ping").arg(own)).await?;
    Ok(cx.signals("pong").next().await)
}

async fn serve(client: &Client) -> Result<()> {
    let worker = Worker::builder(client, QUEUE)
        .register(greeting::def())
        .register(compose::def())
        .register(tour::def())
        .register(ping::def())
        .spawn()?;
    println!("listening");
    Ok(worker.ended().await?)
}

#[tokio::main]
async fn main() -> Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [command, address, rest @ ..] = words.as_slice() else {
        return Err(Error::msg("say: worker|start|tour|ping ADDRESS ..."));
    };
    let client = Client::connect(Connect::to(address)).await?;
    match (command.as_str(), rest) {
        ("worker", []) => serve(&client).await?,
        ("start", [name, languages @ ..]) => {
            for language in languages {
                let queue = format!("polyglot-{}", language.to_lowercase());
                let call = greeting_in(language, name).id(format!("rust-{language}")).queue(queue);
                println!("{}", client.execute(call).await?);
            }
        }
        ("tour", [name]) => println!("{}", client.execute(tour(name.clone()).id("rust-tour").queue(QUEUE)).await?),
        ("ping", [namespace]) => {
            let there = Client::connect(Connect::to(address).namespace(namespace)).await?;
            let pong = Call::named("PythonPong").id("python-pong").queue("polyglot-python").returns::<String>();
            let pong = there.start(pong).await?;
            let place = (namespace.clone(), pong.id().to_owned());
            println!("{}", client.execute(ping(place).id("rust-ping").queue(QUEUE)).await?);
            println!("{}", pong.result().await?);
        }
        _ => return Err(Error::msg("say: worker|start|tour|ping ADDRESS ...")),
    }
    Ok(())
}
