//! One life of a server that ends without power, and the next one, which has to know everything.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};

use crate::check::{completed, histories, judge, lost, wait_until_listed};
use crate::client::Client;
use crate::disk::{Disk, Shim};
use crate::load::{Errands, Load, Shape};
use crate::random::Random;
use crate::server::Server;

/// Lives on one data directory before a new one is begun.
const LIVES: u64 = 6;
/// A server that has not lost power by then is killed instead.
const LIFE_MAX: Duration = Duration::from_secs(8);
/// Everything that was begun is done by then, or never will be. The control need not be sure of it.
const FINISHED_WITHIN: Duration = Duration::from_secs(30);
const CONTROL_FINISHED_WITHIN: Duration = Duration::from_secs(5);
/// Calls that change a file before a server on a new directory serves, roughly.
const CALLS_TO_START: u64 = 60;
/// The longest life has this many calls; most have fewer.
const CALLS_MAX: u64 = 8_000;

/// Rounds on one data directory after another.
pub struct Rounds {
    program: PathBuf,
    shim: Shim,
    folder: PathBuf,
    /// Syncs are ignored: loss must be found.
    control: bool,
    lives: u64,
    /// Of the lives on this directory before.
    known: Vec<String>,
}

/// What happened in a round.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// The last line of the shim, or that power was not lost.
    pub end: String,
    pub acknowledged: usize,
    pub errands: usize,
}

impl Rounds {
    /// Rounds of `program`, with data under `folder`.
    ///
    /// # Errors
    /// When the shim cannot be built or the folder is not there.
    pub fn new(program: &Path, folder: &Path, control: bool) -> anyhow::Result<Rounds> {
        let folder = folder.canonicalize().with_context(|| folder.display().to_string())?;
        Ok(Rounds {
            program: program.to_owned(),
            shim: Shim::build()?,
            folder,
            control,
            lives: LIVES,
            known: Vec::new(),
        })
    }

    /// One life under load until power goes, and one in which everything acknowledged must be there and go on.
    ///
    /// # Errors
    /// When something is lost, doubled or refused; the text says what.
    pub async fn one(&mut self, seed: u64) -> anyhow::Result<Report> {
        let mut random = Random::new(seed);
        let (folder, moment) = self.choose(&mut random)?;
        let disk = Disk { seed, loses_power_after: Some(moment), ignores_syncs: self.control, ..Disk::default() };
        let shape = Shape { clients: 4, workers: 2, payload_bytes_max: 20_000, seed };
        let load = Load::default();
        let end = self.live(&folder, &disk, &load, shape).await?;
        let report = Report { end, acknowledged: load.acknowledged(), errands: load.errands().len() };

        let mut server = Server::start(&self.program, &folder, None).context("after the power loss")?;
        self.check(&server, &load).await?;
        // What a checkpoint at the end would tidy up is left to the next life every other time.
        if random.one_in(2) {
            let ended = server.end("TERM")?;
            if ended.code != Some(0) {
                bail!("the stop failed: {ended:?}");
            }
        } else {
            drop(server.wait_within(Duration::ZERO).await?);
        }
        Ok(report)
    }

    /// Where the next life is lived, and when power goes: some end while the server starts, most under load.
    fn choose(&mut self, random: &mut Random) -> anyhow::Result<(PathBuf, u64)> {
        if self.control {
            // What was lost on purpose is no place to go on.
            return Ok((self.folder(true)?, CALLS_TO_START + random.below(CALLS_MAX / 4)));
        }
        if random.one_in(4) {
            let is_new = random.one_in(2);
            return Ok((self.folder(is_new)?, 1 + random.below(CALLS_TO_START)));
        }
        // Short lives are more frequent, and cheaper.
        let longest = CALLS_MAX >> random.below(4);
        Ok((self.folder(false)?, CALLS_TO_START + random.below(longest)))
    }

    fn folder(&mut self, is_new: bool) -> anyhow::Result<PathBuf> {
        let is_new = is_new || self.lives >= LIVES;
        let folder = self.folder.join("round");
        if is_new {
            self.known.clear();
            self.lives = 0;
            match std::fs::remove_dir_all(&folder) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
                _ => std::fs::create_dir(&folder)?,
            }
        }
        self.lives += 1;
        Ok(folder)
    }

    async fn live(&self, folder: &Path, disk: &Disk, load: &Load, shape: Shape) -> anyhow::Result<String> {
        let mut server = Server::spawn(&self.program, folder, Some((&self.shim, disk)))?;
        if server.serves()? {
            let address = server.address().to_owned();
            // A server that power has left takes its clients with it; one that outlives its time is killed.
            let (ended, loaded) = tokio::join!(server.wait_within(LIFE_MAX), load.run(&address, shape));
            loaded.context("under load")?;
            return Ok(last_words(&ended?.stderr));
        }
        let ended = server.wait()?;
        if ended.code != Some(137) {
            bail!("before the power loss: exit code {:?}: {}", ended.code, ended.stderr.trim());
        }
        Ok(last_words(&ended.stderr))
    }

    async fn check(&mut self, server: &Server, load: &Load) -> anyhow::Result<()> {
        let client = Client::connect(server.address()).await?;
        if self.control {
            let finished = tokio::time::timeout(CONTROL_FINISHED_WITHIN, prove(&client, load));
            return finished.await.context("some errands never end")?;
        }
        prove(&client, load).await?;
        self.known.extend(load.errands().into_keys());
        wait_until_listed(&client, &self.known).await
    }
}

/// Looks for what was acknowledged, has everything finished, then compares once more.
///
/// # Errors
/// When something is lost, doubled, or never ends; the text says what.
pub async fn prove(client: &Client, load: &Load) -> anyhow::Result<()> {
    let errands = load.errands();
    nothing(&lost(&errands, &histories(client, &errands).await?))?;
    let done = wait_until_completed(client, &errands);
    let finished = tokio::time::timeout(FINISHED_WITHIN, load.finish(client, done));
    finished.await.context("some errands never end")?.context("finishing the errands")?;
    nothing(&judge(&load.errands(), &histories(client, &errands).await?))
}

fn nothing(problems: &[String]) -> anyhow::Result<()> {
    match problems {
        [] => Ok(()),
        problems => bail!("{} problems:\n{}", problems.len(), problems.join("\n")),
    }
}

fn last_words(stderr: &str) -> String {
    let said = stderr.lines().rev().find_map(|line| line.strip_prefix("powerloss: "));
    said.unwrap_or("killed before power went").to_owned()
}

async fn wait_until_completed(client: &Client, errands: &Errands) -> anyhow::Result<()> {
    for id in errands.keys() {
        // The start may still be under way.
        while !client.history(id).await.is_ok_and(|history| completed(&history)) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
    Ok(())
}
