//! Generates the wire types from the descriptor set that `temporalio-protos` publishes. No `.proto` file and no
//! generated code is kept in the repository.

use std::{collections::BTreeSet, env, fs, path::PathBuf};

use prost::Message as _;
use prost_types::{FileDescriptorProto, FileDescriptorSet};

type Failure = Box<dyn std::error::Error>;

fn main() -> Result<(), Failure> {
    let path = env::var("DEP_TEMPORALIO_PROTOS_DESCRIPTOR_PATH")?;
    println!("cargo::rerun-if-changed={path}");
    let published = FileDescriptorSet::decode(fs::read(path)?.as_slice())?;
    let set = FileDescriptorSet { file: closure(published.file) };
    fs::write(PathBuf::from(env::var("OUT_DIR")?).join("descriptors.bin"), set.encode_to_vec())?;

    let mut prost = tonic_prost_build::Config::new();
    prost
        .bytes(["."])
        .btree_map(["."])
        .extern_path(".temporal.api.history.v1.History", "crate::history::History")
        .extern_path(".temporal.api.common.v1.Payload", "crate::payload::Payload")
        .enable_type_names()
        .include_file("generated.rs");
    tonic_prost_build::configure().build_server(false).build_client(false).compile_fds_with_config(set, prost)?;
    Ok(())
}

/// The public services and what they import. Other packages of the crate (the SDK's own, test services) stay out.
fn closure(files: Vec<FileDescriptorProto>) -> Vec<FileDescriptorProto> {
    const ROOTS: [&str; 4] = [
        "temporal.api.workflowservice.v1",
        "temporal.api.operatorservice.v1",
        "temporal.api.errordetails.v1",
        "temporal.api.history.v1",
    ];
    let mut wanted: BTreeSet<String> = files
        .iter()
        .filter(|file| ROOTS.contains(&file.package()) || file.package() == "google.rpc")
        .map(|file| file.name().to_owned())
        .collect();
    loop {
        let imports: Vec<String> = files
            .iter()
            .filter(|file| wanted.contains(file.name()))
            .flat_map(|file| file.dependency.iter().cloned())
            .filter(|name| !wanted.contains(name))
            .collect();
        if imports.is_empty() {
            break;
        }
        wanted.extend(imports);
    }
    files.into_iter().filter(|file| wanted.contains(file.name())).collect()
}
