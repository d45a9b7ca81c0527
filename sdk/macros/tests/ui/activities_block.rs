//! Blocks of activities that are wrong.

use mainspring::prelude::*;

struct Gpu;
struct Tpu;
struct Fpga;
struct Cpu;
trait Device {
    fn train(&self) -> Result<()>;
}

#[activities]
impl Gpu {
    async fn train(&mut self) -> Result<()> {
        Ok(())
    }
}

#[activities]
impl Tpu {
    const COUNT: u8 = 1;
}

#[activities]
impl Device for Fpga {
    fn train(&self) -> Result<()> {
        Ok(())
    }
}

#[activities]
impl Cpu {
    #[activity(nme = "train_v2")]
    fn train(&self) -> Result<()> {
        Ok(())
    }
}

#[activities(queue = "gpu")]
impl Gpu {}

fn main() {}
