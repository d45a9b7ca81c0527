//! What does not replay, in the code of workflows.

use mainspring::prelude::*;

#[workflow]
async fn all_of_them(cx: Ctx) -> Result<()> {
    let began = std::time::SystemTime::now();
    let began = std::time::Instant::now();
    std::thread::sleep(std::time::Duration::from_secs(1));
    std::thread::spawn(|| 7);
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    tokio::spawn(async { 7 });
    tokio::select! { () = async {} => {} }
    let lock = tokio::sync::Mutex::new(7);
    let number: u64 = rand::random();
    let id = uuid::Uuid::new_v4();
    let home = std::env::var("HOME");
    let text = std::fs::read_to_string("a");
    let socket = std::net::TcpStream::connect("a:1");
    let out = std::process::Command::new("ls").output();
    let page = reqwest::get("http://a").await;
    let map = std::collections::HashMap::<u8, u8>::new();
    let set: HashSet<u8> = HashSet::new();
    for _ in 0..2 {
        if true {
            drop(vec![rand::random::<u8>()]);
        }
    }
    Ok(())
}

#[derive(Default)]
#[workflow]
struct Counter;

#[workflow]
impl Counter {
    async fn run(&self, _cx: Ctx) -> Result<()> {
        self.helper();
        Ok(())
    }

    #[signal]
    fn in_a_handler(&self) {
        let now = chrono::Utc::now();
    }

    fn helper(&self) {
        let now = std::time::SystemTime::now();
    }
}

fn main() {}
