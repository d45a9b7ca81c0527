//! Hands on where `temporalio-protos` put its descriptor set.

fn main() -> Result<(), std::env::VarError> {
    let path = std::env::var("DEP_TEMPORALIO_PROTOS_DESCRIPTOR_PATH")?;
    println!("cargo::rerun-if-changed={path}");
    println!("cargo::rustc-env=DESCRIPTORS={path}");
    Ok(())
}
