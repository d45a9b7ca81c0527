//! Writes the seeds of each target to `fuzz/corpus/<target>/`, beside what fuzzing has found. Run it after a change of
//! what is encoded: `cargo run --package mainspring-fuzz`.

use std::{fs, io, path::Path};

fn main() -> io::Result<()> {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus");
    for (target, _) in mainspring_fuzz::TARGETS {
        let folder = corpus.join(target);
        fs::create_dir_all(&folder)?;
        for (name, input) in mainspring_fuzz::corpus::seeds(target) {
            fs::write(folder.join(name), input)?;
        }
    }
    Ok(())
}
