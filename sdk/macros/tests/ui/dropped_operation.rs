//! Operations that are cancelled in the statement that begins them.

use mainspring::prelude::*;

#[activity(start_to_close = "1s")]
async fn ship() -> Result<()> {
    Ok(())
}

#[workflow]
async fn forgetful(cx: Ctx) -> Result<()> {
    let _ = cx.sleep(secs(1));
    let _ = cx.run(ship());
    let _ = cx.run_local(ship());
    Ok(())
}

fn main() {}
