//! The workspace's packages and what they depend on, as `cargo metadata` tells it.

use anyhow::Context;
use serde_json::Value;

use crate::run::{cargo, output};

/// One package of the workspace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Package {
    pub(crate) name: String,
    /// What it needs to build and run; what only its tests need is left out.
    pub(crate) dependencies: Vec<String>,
    /// Those of them that only come with a feature.
    pub(crate) optional: Vec<String>,
    pub(crate) has_program: bool,
}

/// Asks cargo; nothing is downloaded.
///
/// # Errors
/// When a manifest cannot be read.
pub(crate) fn packages() -> anyhow::Result<Vec<Package>> {
    parse(&output(&mut cargo(["metadata", "--no-deps", "--format-version=1"]))?)
}

fn parse(metadata: &str) -> anyhow::Result<Vec<Package>> {
    let metadata: Value = serde_json::from_str(metadata).context("cargo metadata is not JSON")?;
    let packages = metadata["packages"].as_array().context("cargo metadata names no packages")?;
    Ok(packages.iter().map(package).collect())
}

fn package(metadata: &Value) -> Package {
    let dependencies = || list(&metadata["dependencies"]).filter(|dependency| dependency["kind"] != "dev");
    let optional = dependencies().filter(|dependency| dependency["optional"] == true);
    let kinds = list(&metadata["targets"]).flat_map(|target| list(&target["kind"]));
    Package {
        name: text(&metadata["name"]),
        dependencies: dependencies().map(|dependency| text(&dependency["name"])).collect(),
        optional: optional.map(|dependency| text(&dependency["name"])).collect(),
        has_program: kinds.into_iter().any(|kind| kind == "bin"),
    }
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dependencies_of_tests_are_left_out() {
        let metadata = r#"{"packages": [{
            "name": "a",
            "dependencies": [{"name": "b", "kind": null}, {"name": "c", "kind": "build", "optional": true}, {"name": "d", "kind": "dev"}],
            "targets": [{"kind": ["lib"]}, {"kind": ["bin"]}]
        }]}"#;
        let (dependencies, optional) = (vec!["b".into(), "c".into()], vec!["c".into()]);
        let expected = Package { name: "a".into(), dependencies, optional, has_program: true };
        assert_eq!(parse(metadata).unwrap(), [expected]);
    }

    #[test]
    fn this_workspace_can_be_read() {
        let packages = packages().unwrap();
        assert!(packages.iter().any(|package| package.name == "xtask" && package.has_program));
    }
}
