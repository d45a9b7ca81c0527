//! `powerloss`: rounds of power loss, and the control that must find loss. `cargo xtask crash --power-loss` starts it.

#[cfg(target_os = "linux")]
mod program {
    //! The command line.

    use std::io::Write;
    use std::path::PathBuf;

    use anyhow::bail;
    use clap::Parser;
    use mainspring_powerloss::Rounds;

    #[derive(Debug, Parser)]
    #[command(name = "powerloss", about = "Takes the power from a server again and again.")]
    struct Options {
        /// The server's program.
        #[arg(long)]
        server: PathBuf,
        #[arg(long, default_value_t = 300)]
        rounds: u64,
        /// The first round's seed; the next ones count on from it.
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// Rounds of the control, on a disk that ignores syncs: it must find loss.
        #[arg(long, default_value_t = 5)]
        control_rounds: u64,
    }

    /// # Errors
    /// When something was lost, or the control found nothing.
    pub(crate) fn run() -> anyhow::Result<()> {
        let options = Options::parse();
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        runtime.block_on(async {
            powerless(&options).await?;
            control(&options).await
        })
    }

    async fn powerless(options: &Options) -> anyhow::Result<()> {
        let folder = tempfile::tempdir()?;
        let mut rounds = Rounds::new(&options.server, folder.path(), false)?;
        let (mut acknowledged, mut errands) = (0, 0);
        for round in 0..options.rounds {
            let seed = options.seed + round;
            match rounds.one(seed).await {
                Ok(report) => {
                    acknowledged += report.acknowledged;
                    errands += report.errands;
                    say(&format!("seed {seed}: {} acknowledged; {}", report.acknowledged, report.end));
                }
                Err(error) => {
                    let kept = folder.keep();
                    say(&format!(
                        "seed {seed} FAILED: cargo xtask crash --power-loss --seed {} --rounds {}",
                        options.seed,
                        round + 1
                    ));
                    bail!("{error:#}\nthe data is in {}", kept.display());
                }
            }
        }
        say(&format!(
            "{} power losses: {acknowledged} acknowledged calls on {errands} workflows, nothing lost or doubled",
            options.rounds
        ));
        Ok(())
    }

    /// What the checks find when syncs do nothing; finding nothing would mean that they cannot fail.
    async fn control(options: &Options) -> anyhow::Result<()> {
        let folder = tempfile::tempdir()?;
        let mut rounds = Rounds::new(&options.server, folder.path(), true)?;
        let mut found = 0;
        for round in 0..options.control_rounds {
            if let Err(error) = rounds.one(options.seed + round).await {
                found += 1;
                let text = format!("{error:#}");
                say(&format!("control {round}: {}", text.lines().next().unwrap_or_default()));
            }
        }
        if options.control_rounds > 0 && found == 0 {
            bail!("THE CONTROL FAILED: syncs were ignored and nobody noticed");
        }
        say(&format!("control: loss found in {found} of {} rounds without syncs", options.control_rounds));
        Ok(())
    }

    fn say(line: &str) {
        let mut out = std::io::stdout().lock();
        let _ = writeln!(out, "{line}");
        let _ = out.flush();
    }
}

#[cfg(target_os = "linux")]
fn main() -> std::process::ExitCode {
    use std::io::Write;

    match program::run() {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "powerloss: {error:#}");
            std::process::ExitCode::FAILURE
        }
    }
}

/// The shim is for Linux alone.
#[cfg(not(target_os = "linux"))]
fn main() {}
