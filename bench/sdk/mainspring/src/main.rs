//! The worker program of our SDK; `../README.md` says what it must do.
#![expect(clippy::print_stdout, reason = "it prints its results")]
#![expect(clippy::disallowed_methods, reason = "it measures, and makes mistakes on purpose")]

#[path = "../../usage.rs"]
mod usage;

use std::{
    fs, thread,
    time::{Instant, SystemTime, UNIX_EPOCH},
};

use mainspring::{VerifyReplay, prelude::*, replay::Replayer};
use serde_json::json;

#[activity(start_to_close = "10s")]
async fn greet(name: String) -> Result<String> {
    Ok(format!("Hello, {name}!"))
}

#[workflow(name = "OneActivity")]
async fn one_activity(cx: Ctx, name: String) -> Result<String> {
    cx.run(greet(name)).await
}

#[workflow(name = "LongLoop")]
async fn long_loop(cx: Ctx, steps: u32) -> Result<u64> {
    let mut total = 0;
    for step in 0..steps {
        total += cx.run(greet(step.to_string())).await?.len() as u64;
    }
    Ok(total)
}

#[workflow(name = "Mistakes")]
#[allow_nondeterminism]
async fn mistakes(cx: Ctx, kind: String) -> Result<String> {
    match kind.as_str() {
        "tokio-sleep" => tokio::time::sleep(millis(20)).await,
        "tokio-spawn" => tokio::spawn(async {}).await?,
        "block" => std::thread::sleep(secs(4)),
        "panic" => panic!("deliberate"),
        "clock" if SystemTime::now().duration_since(UNIX_EPOCH)?.as_nanos() % 2 == 0 => cx.sleep(millis(10)).await?,
        _ => {}
    }
    cx.sleep(millis(50)).await?;
    Ok(kind)
}

fn main() -> Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words[..] {
        ["worker", queue] => work(queue, VerifyReplay::Never),
        ["worker", queue, "verify"] => work(queue, VerifyReplay::Always),
        ["replay", file, repeats, copies] => replay(file, repeats.parse()?, copies.parse()?),
        _ => Err(std::io::Error::other("worker QUEUE [verify], or replay FILE REPEATS COPIES").into()),
    }
}

#[tokio::main]
async fn work(queue: &str, verify: VerifyReplay) -> Result<()> {
    let client = Client::connect(Connect::from_env()?).await?;
    let worker = Worker::builder(&client, queue).register(greet::def()).register(one_activity::def());
    let worker = worker.register(long_loop::def()).register(mistakes::def()).verify_replay(verify);
    worker.build()?.run().await?;
    Ok(())
}

/// Each repeat replays all copies, each copy in a thread.
fn replay(file: &str, repeats: u32, copies: usize) -> Result<()> {
    let bytes = fs::read(file)?;
    let replayer = Replayer::new().register(long_loop::def());
    let (mut seconds, mut events) = (Vec::new(), 0);
    for _ in 0..repeats {
        let began = Instant::now();
        let reports: Vec<_> = thread::scope(|scope| {
            let running: Vec<_> = (0..copies).map(|_| scope.spawn(|| replayer.replay_bytes(&bytes))).collect();
            running.into_iter().filter_map(|thread| thread.join().ok()).collect()
        });
        seconds.push(began.elapsed().as_secs_f64());
        for report in reports {
            events = report?.events;
        }
    }
    println!("{}", json!({ "events": events, "seconds": seconds, "rss_peak_mib": usage::rss_peak_mib() }));
    Ok(())
}
