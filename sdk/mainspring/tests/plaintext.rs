//! Nothing that codecs cover is readable in what goes over the wire or into the server's files.
//!
//! The same workflows run twice, with everything in clear and with everything encrypted. The first run shows that the
//! search would find each value; the second one that it finds none.

#![expect(clippy::unwrap_used, reason = "a test that fails says where")]

#[allow(dead_code, reason = "other tests use it")]
mod rig;

use std::{
    collections::BTreeSet,
    net::SocketAddr,
    path::Path,
    sync::{Arc, Mutex},
};

use mainspring::{
    ToPayload,
    codec::{Aes256Gcm, KeyRing},
    payload::{Args, Payload},
    prelude::*,
};
use mainspring_server::{Config, Server, Storage};
use rig::PATIENCE;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

const MARK: &str = "rosebud-";
/// The same at the beginning of a JSON text, as values within values are written.
const MARK_IN_BASE64: &str = "InJvc2VidWQt";

/// What is sent and written down.
const KEPT: [&str; 35] = [
    "activity-argument",
    "activity-detail",
    "activity-failure",
    "activity-header",
    "activity-result",
    "activity-summary",
    "argument",
    "cause",
    "child-argument",
    "child-failure",
    "child-header",
    "child-memo",
    "child-result",
    "child-summary",
    "continued",
    "continued-header",
    "details",
    "external-header",
    "external-signal",
    "header",
    "later-result",
    "local-failure",
    "local-result",
    "memo",
    "memo-changed",
    // A mutable side effect, whose marker holds a message in JSON.
    "in base64",
    "panic",
    "result",
    "side-effect",
    "signal",
    "signal-header",
    "summary",
    "terminated",
    "timer-summary",
    "workflow-failure",
];

/// What is sent, and nothing of it is kept for good.
const SENT: [&str; 12] = [
    "heartbeat",
    "later-heartbeat",
    "now",
    "query-answer",
    "query-argument",
    "query-failure",
    "query-header",
    "rejection",
    "update-argument",
    "update-failure",
    "update-header",
    "update-result",
];

/// Twice, since pages of files and frames of the wire may cut one of the two.
fn secret(place: &str) -> String {
    format!("{MARK}{place} {MARK}{place}")
}

fn payload(place: &str) -> Payload {
    secret(place).to_payload().unwrap()
}

#[activity(start_to_close = "10s", heartbeat = "5s", retry(max_attempts = 2, initial = "1ms"))]
async fn work(cx: Activity, value: String) -> Result<String> {
    assert_eq!(value, secret("activity-argument"));
    assert_eq!(cx.headers().get("h"), Some(&payload("activity-header")));
    if cx.info().attempt == 1 {
        cx.heartbeat(&secret("heartbeat"));
        let cause = Error::application("Cause", secret("cause"));
        let error = Error::application("Refused", secret("activity-failure")).caused_by(cause);
        return Err(error.details(secret("activity-detail")));
    }
    assert_eq!(cx.last_heartbeat::<String>()?, Some(secret("heartbeat")));
    Ok(secret("activity-result"))
}

#[activity(start_to_close = "10s", retry(max_attempts = 1))]
async fn refuse() -> Result<()> {
    let cause = Error::application("Cause", secret("cause"));
    let error = Error::application("Refused", secret("activity-failure")).caused_by(cause);
    Err(error.details(secret("activity-detail")))
}

#[activity(start_to_close = "10s", heartbeat = "5s")]
async fn later(cx: Activity) -> Result<String> {
    let info = cx.info();
    let client = cx.client().unwrap();
    let handle = client.activity_of_run(&info.workflow_id, &info.run_id, &info.activity_id);
    handle.heartbeat(secret("later-heartbeat")).await?;
    handle.complete(secret("later-result")).await?;
    Err(cx.complete_later())
}

#[activity(start_to_close = "10s", retry(max_attempts = 1))]
async fn local(fail: bool) -> Result<String> {
    if fail { Err(Error::application("Refused", secret("local-failure"))) } else { Ok(secret("local-result")) }
}

#[workflow]
async fn child(cx: Ctx, value: String) -> Result<String> {
    assert_eq!(cx.info().headers.get("h"), Some(&payload("child-header")));
    if value == secret("child-argument") {
        return Ok(secret("child-result"));
    }
    Err(Error::application("Refused", secret("child-failure")))
}

#[workflow]
async fn listens(cx: Ctx) -> Result<String> {
    Ok(cx.signals("tell").next().await)
}

#[workflow]
async fn fails(cx: Ctx) -> Result<()> {
    cx.sleep(millis(1)).await?;
    Err(Error::application("Refused", secret("workflow-failure")))
}

#[workflow]
async fn panics(cx: Ctx) -> Result<()> {
    assert!(cx.is_cancelled(), "{}", secret("panic"));
    Ok(())
}

#[workflow]
struct Everything {
    first: String,
    told: Var<Option<String>>,
    updated: Var<bool>,
}

#[workflow]
impl Everything {
    fn init(first: String) -> Self {
        Self { first, told: Var::default(), updated: Var::new(false) }
    }

    async fn run(&self, cx: Ctx) -> Result<String> {
        if self.first == secret("continued") {
            assert_eq!(cx.info().headers.get("h"), Some(&payload("continued-header")));
            return Ok(secret("result"));
        }
        assert_eq!(cx.info().headers.get("h"), Some(&payload("header")));
        cx.set_details(secret("now"));
        self.works(&cx).await?;
        self.notes(&cx).await?;
        self.talks(&cx).await?;
        let told = self.told.some().await;
        assert_eq!(told, secret("signal"));
        self.updated.until(|updated| *updated).await;
        Err(cx.continue_as_new(Everything::start(secret("continued")).header("h", payload("continued-header"))))
    }

    async fn works(&self, cx: &Ctx) -> Result<()> {
        let call = work(secret("activity-argument")).summary(secret("activity-summary"));
        assert_eq!(cx.run(call.header("h", payload("activity-header"))).await?, secret("activity-result"));
        let refused = cx.run(refuse()).await.unwrap_err();
        assert_eq!(refused.as_application().unwrap().detail::<String>(0)?, secret("activity-detail"));
        assert_eq!(cx.run(later()).await?, secret("later-result"));
        assert_eq!(cx.run_local(local(false)).await?, secret("local-result"));
        let refused = cx.run_local(local(true)).await.unwrap_err();
        assert_eq!(refused.as_application().unwrap().message, secret("local-failure"));
        Ok(())
    }

    async fn notes(&self, cx: &Ctx) -> Result<()> {
        assert_eq!(cx.memo::<String>("m")?, Some(secret("memo")));
        cx.set_memo("changed", secret("memo-changed"))?;
        assert_eq!(cx.side_effect(|| secret("side-effect"))?, secret("side-effect"));
        cx.mutable_side_effect("id", || secret("mutable-side-effect"))?;
        assert!(cx.patched("a"));
        assert_eq!(cx.version("b", 1..=2), 2);
        cx.sleep_for(millis(1), &secret("timer-summary")).await
    }

    async fn talks(&self, cx: &Ctx) -> Result<()> {
        let id = &cx.info().workflow_id;
        let call = child(secret("child-argument")).id(format!("{id}-child")).summary(secret("child-summary"));
        let call = call.memo("m", secret("child-memo")).header("h", payload("child-header"));
        assert_eq!(cx.run_child(call).await?, secret("child-result"));
        let call = child("other".to_owned()).id(format!("{id}-failing")).header("h", payload("child-header"));
        let failed = cx.run_child(call).await.unwrap_err();
        assert_eq!(failed.as_application().unwrap().message, secret("child-failure"));
        let signal = Signal::named("tell").arg(secret("external-signal")).header("h", payload("external-header"));
        cx.workflow(format!("{id}-listens")).signal(signal).await
    }

    #[signal]
    fn tell(&self, value: String) {
        self.told.set(Some(value));
    }

    #[query]
    fn ask(&self, value: String) -> Result<String> {
        if value == secret("query-argument") {
            return Ok(secret("query-answer"));
        }
        Err(Error::application("Refused", secret("query-failure")))
    }

    #[update(validate = fine)]
    async fn change(&self, value: String) -> Result<String> {
        if value == "fail" {
            return Err(Error::application("Refused", secret("update-failure")));
        }
        assert_eq!(value, secret("update-argument"));
        self.updated.set(true);
        Ok(secret("update-result"))
    }

    fn fine(&self, value: &str) -> Result<()> {
        if value == "reject" { Err(Error::application("Refused", secret("rejection"))) } else { Ok(()) }
    }
}

/// Does everything once, and reads it back.
async fn everything(client: &Client) {
    let worker = Worker::builder(client, "q")
        .register(Everything::def())
        .register(child::def())
        .register(listens::def())
        .register(fails::def())
        .register(panics::def())
        .register(work::def())
        .register(refuse::def())
        .register(later::def())
        .register(local::def())
        .spawn()
        .unwrap();
    let listener = client.start(listens().id("w-listens").queue("q")).await.unwrap();
    let call = Everything::start(secret("argument")).id("w").queue("q").memo("m", secret("memo"));
    let call = call.summary(secret("summary")).details(secret("details")).header("h", payload("header"));
    let handle = client.start(call).await.unwrap();
    assert_eq!(listener.result().await.unwrap(), secret("external-signal"));

    talk_to(&handle).await;
    assert_eq!(handle.result().await.unwrap(), secret("result"));

    let failed = client.execute(fails().id("w-fails").queue("q")).await.unwrap_err();
    assert!(failed.to_string().contains(&secret("workflow-failure")), "{failed}");
    let panicking = client.start(panics().id("w-panics").queue("q")).await.unwrap();
    while !history(&panicking).await.contains("WorkflowTaskFailed") {}
    let mut details = Args::new();
    details.push(secret("terminated"));
    panicking.terminate_with("seen", details).await.unwrap();
    read_back(client).await;
    worker.stop().await.unwrap();
}

async fn talk_to(handle: &WorkflowHandle<String>) {
    let question = |value: String| Query::named("ask").arg(value).returns::<String>();
    let asked = question(secret("query-argument")).header("h", payload("query-header"));
    assert_eq!(handle.query(asked).await.unwrap(), secret("query-answer"));
    let refused = handle.query(question("other".to_owned())).await.unwrap_err().to_string();
    assert!(refused.contains(&secret("query-failure")), "{refused}");
    let metadata = Query::named("__temporal_workflow_metadata").returns::<serde_json::Value>();
    let metadata = handle.query(metadata).await.unwrap().to_string();
    assert!(metadata.contains(&secret("now")), "{metadata}");
    handle.query(Query::named("__stack_trace").returns::<String>()).await.unwrap();

    for (value, wanted) in [("reject", "rejection"), ("fail", "update-failure")] {
        let refused = handle.update(Everything::change(value.to_owned())).await.unwrap_err().to_string();
        assert!(refused.contains(&secret(wanted)), "{refused}");
    }
    let signal = Everything::tell(secret("signal")).header("h", payload("signal-header"));
    handle.signal(signal).await.unwrap();
    let update = Everything::change(secret("update-argument")).header("h", payload("update-header"));
    assert_eq!(handle.update(update).await.unwrap(), secret("update-result"));
}

/// Asks the server for all it knows: what it answers passes the tap.
async fn read_back(client: &Client) {
    let mut all = Vec::new();
    // Lists are behind by a moment.
    while all.len() < 7 {
        all = client.list("").collect().await.unwrap();
    }
    for execution in all {
        let handle = client.workflow::<()>(&execution.workflow_id).pinned(&execution.run_id);
        handle.describe().await.unwrap();
        history(&handle).await;
    }
}

async fn history<O>(handle: &WorkflowHandle<O>) -> String {
    format!("{:?}", handle.history().collect().await.unwrap())
}

/// What passes between a client and a server, each way of each connection by itself.
struct Tap {
    address: SocketAddr,
    heard: Arc<Mutex<Vec<Vec<u8>>>>,
}

impl Tap {
    async fn on(server: SocketAddr) -> Tap {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let tap = Tap { address: listener.local_addr().unwrap(), heard: Arc::default() };
        let heard = tap.heard.clone();
        tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                let far = TcpStream::connect(server).await.unwrap();
                let ((near_in, near_out), (far_in, far_out)) = (near.into_split(), far.into_split());
                tokio::spawn(pass(near_in, far_out, heard.clone()));
                tokio::spawn(pass(far_in, near_out, heard.clone()));
            }
        });
        tap
    }
}

async fn pass(
    mut from: impl AsyncReadExt + Unpin,
    mut to: impl AsyncWriteExt + Unpin,
    heard: Arc<Mutex<Vec<Vec<u8>>>>,
) {
    let own = {
        let mut heard = heard.lock().unwrap();
        heard.push(Vec::new());
        heard.len() - 1
    };
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(count @ 1..) = from.read(&mut buffer).await {
        heard.lock().unwrap()[own].extend_from_slice(&buffer[..count]);
        if to.write_all(&buffer[..count]).await.is_err() {
            break;
        }
    }
}

/// The places whose values are readable.
fn found(bytes: &[u8]) -> BTreeSet<String> {
    let mark = MARK.as_bytes();
    let places = bytes.windows(mark.len()).enumerate().filter(|(_, window)| *window == mark);
    let place = |start: usize| -> String {
        let rest = bytes[start + mark.len()..].iter();
        rest.take_while(|byte| byte.is_ascii_lowercase() || **byte == b'-').map(|byte| char::from(*byte)).collect()
    };
    let in_base64 = bytes.windows(MARK_IN_BASE64.len()).any(|window| window == MARK_IN_BASE64.as_bytes());
    places.map(|(start, _)| place(start)).chain(in_base64.then(|| "in base64".to_owned())).collect()
}

fn read_all(folder: &Path) -> Vec<u8> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        all.extend(std::fs::read(entry.unwrap().path()).unwrap());
    }
    all
}

/// The places that are readable on the wire and in the files, while the server runs and after.
async fn readable(converter: DataConverter) -> (BTreeSet<String>, BTreeSet<String>) {
    let folder = tempfile::tempdir().unwrap();
    let anywhere = SocketAddr::from(([127, 0, 0, 1], 0));
    let storage = Storage::Sqlite(folder.path().join("mainspring.db"));
    let mut server = Server::start(Config::new(anywhere, storage)).await.unwrap();
    let tap = Tap::on(server.local_addr()).await;
    let client = Client::connect(Connect::to(tap.address.to_string()).converter(converter)).await.unwrap();
    tokio::time::timeout(PATIENCE, everything(&client)).await.expect("everything is done in time");
    let mut files = found(&read_all(folder.path()));
    server.stop().await;
    files.extend(found(&read_all(folder.path())));
    let wire = tap.heard.lock().unwrap().iter().flat_map(|way| found(way)).collect();
    (wire, files)
}

/// Those that were not found. What was found may be cut, where a message was.
fn missing(places: &[&'static str], found: &BTreeSet<String>) -> Vec<&'static str> {
    places.iter().copied().filter(|place| !found.contains(*place)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn in_clear_each_value_is_found() {
    let (wire, files) = readable(DataConverter::json()).await;
    assert_eq!(missing(&[&KEPT[..], &SENT[..]].concat(), &wire), [""; 0]);
    assert_eq!(missing(&KEPT, &files), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn encrypted_none_is_found() {
    let ring = KeyRing::new("k", &[7; 32]).unwrap();
    let converter = DataConverter::json().codec(Aes256Gcm::new(ring)).encrypt_failures().encrypt_headers();
    assert_eq!(readable(converter).await, (BTreeSet::new(), BTreeSet::new()));
}
