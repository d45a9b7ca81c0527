//! Generates the wire types from the descriptor set that `temporalio-protos` publishes. No `.proto` file and no
//! generated code is kept in the repository.

use std::{
    collections::{BTreeMap, BTreeSet},
    env,
    fmt::Write as _,
    fs,
    path::PathBuf,
};

use prost::Message as _;
use prost_types::{
    DescriptorProto, FileDescriptorProto, FileDescriptorSet,
    field_descriptor_proto::{Label, Type},
};

/// Messages that pass through as bytes, and what stands for them in the generated code.
const OPAQUE: [(&str, &str); 2] = [
    (".temporal.api.history.v1.History", "crate::history::History"),
    (".temporal.api.common.v1.Payload", "crate::payload::Payload"),
];

type Failure = Box<dyn std::error::Error>;

fn main() -> Result<(), Failure> {
    println!("cargo::rerun-if-changed=build.rs");
    let published = FileDescriptorSet::decode(mainspring_descriptors::DESCRIPTORS)?;
    let set = FileDescriptorSet { file: closure(published.file) };
    fs::write(PathBuf::from(env::var("OUT_DIR")?).join("descriptors.bin"), set.encode_to_vec())?;

    fs::write(PathBuf::from(env::var("OUT_DIR")?).join("parts.rs"), parts(&set)?)?;

    let mut prost = tonic_prost_build::Config::new();
    prost.bytes(["."]).btree_map(["."]).enable_type_names().include_file("generated.rs");
    for (message, path) in OPAQUE {
        prost.extern_path(message, path);
    }
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

/// The table for `src/parts.rs`: by message name, each field that is a message or may be there many times.
fn parts(set: &FileDescriptorSet) -> Result<String, std::fmt::Error> {
    let mut messages = BTreeMap::new();
    for file in &set.file {
        file.message_type.iter().for_each(|message| collect(&format!(".{}", file.package()), message, &mut messages));
    }
    let place = |name: &str| messages.keys().position(|known| known == name);
    let mut table = String::from("&[\n");
    for (name, message) in &messages {
        write!(table, "    ({:?}, &[", name.trim_start_matches('.'))?;
        let opaque = OPAQUE.iter().any(|(opaque, _)| opaque == name);
        for field in message.field.iter().filter(|_| !opaque) {
            let repeated = field.label() == Label::Repeated;
            let child = if field.r#type() == Type::Message { place(field.type_name()) } else { None };
            let text = matches!(field.r#type(), Type::String | Type::Bytes);
            if child.is_some() || (repeated && text) {
                write!(table, "Part {{ number: {}, repeated: {repeated}, child: {child:?} }}, ", field.number())?;
            }
        }
        table.push_str("]),\n");
    }
    table.push_str("]\n");
    Ok(table)
}

fn collect<'m>(scope: &str, message: &'m DescriptorProto, into: &mut BTreeMap<String, &'m DescriptorProto>) {
    let name = format!("{scope}.{}", message.name());
    message.nested_type.iter().for_each(|nested| collect(&name, nested, into));
    into.insert(name, message);
}
