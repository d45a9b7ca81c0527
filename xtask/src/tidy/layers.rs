//! Which of our packages may depend on which: one way, from the state machines up to the program.

use crate::workspace::Package;

/// From the lowest to the highest. A package may depend on packages of lower layers only, so that the state machines
/// stay free of the shells around them; the names are those of the folders.
const LAYERS: &[&[&str]] = &[
    &["rt", "macros", "descriptors"],
    &["api"],
    &["sdk"],
    &["engine", "matcher", "visibility"],
    &["store"],
    &["cluster"],
    &["matching"],
    &["history", "system"],
    &["frontend"],
    &["ui"],
    &["server"],
    &["mainspring"],
    &["cli", "sim", "bench", "bench-sdk", "powerloss", "fuzz"],
];

/// Packages that decide and do nothing else, and what would let a clock, a thread or chance into them.
const PURE: &[&str] = &["engine", "matcher"];
const IMPURE: &[&str] = &["tokio", "futures-util", "tonic", "rand", "getrandom", "fastrand", "rusqlite"];

/// The package that users name, and the highest layer that it takes without a feature: a worker does not link the server.
const LEAN: (&str, &str) = ("mainspring", "sdk");

/// One line for each dependency that points the wrong way.
pub(crate) fn check(packages: &[Package]) -> Vec<String> {
    let mut breaches = Vec::new();
    for package in packages.iter().filter(|package| package.name != "xtask") {
        let Some(layer) = layer_of(&package.name) else {
            breaches.push(format!("{}: it has no layer; give it one in xtask/src/tidy/layers.rs", package.name));
            continue;
        };
        for dependency in &package.dependencies {
            if layer_of(dependency).is_some_and(|lower| lower >= layer) {
                breaches.push(format!("{} depends on {dependency}, which is not in a lower layer", package.name));
            }
            if package.name == LEAN.0 && !package.optional.contains(dependency) && layer_of(dependency) > lean() {
                breaches.push(format!("{} depends on {dependency} without a feature; make it optional", package.name));
            }
            if PURE.contains(&short(&package.name)) && IMPURE.contains(&dependency.as_str()) {
                breaches.push(format!("{} depends on {dependency}, but it is to be pure", package.name));
            }
        }
    }
    breaches
}

/// Nothing for packages that are not ours.
fn layer_of(name: &str) -> Option<usize> {
    if name != "mainspring" && !name.starts_with("mainspring-") {
        return None;
    }
    LAYERS.iter().position(|layer| layer.contains(&short(name)))
}

fn lean() -> Option<usize> {
    LAYERS.iter().position(|layer| layer.contains(&LEAN.1))
}

fn short(name: &str) -> &str {
    name.strip_prefix("mainspring-").unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(name: &str, dependencies: &[&str]) -> Package {
        let dependencies = dependencies.iter().map(|name| (*name).to_owned()).collect();
        Package { name: name.to_owned(), dependencies, optional: Vec::new(), has_program: false }
    }

    fn with_a_feature(package: Package) -> Package {
        Package { optional: package.dependencies.clone(), ..package }
    }

    #[test]
    fn down_is_allowed() {
        let packages = [
            package("mainspring-engine", &["mainspring-api", "uuid"]),
            package("mainspring-history", &["mainspring-engine", "mainspring-store", "mainspring-matching", "tokio"]),
            package("mainspring-cli", &["mainspring-server", "clap"]),
            package("mainspring", &["mainspring-sdk", "mainspring-macros", "tokio"]),
            with_a_feature(package("mainspring", &["mainspring-server"])),
        ];
        assert_eq!(check(&packages), [""; 0]);
    }

    #[test]
    fn up_and_sideways_are_refused() {
        assert_eq!(check(&[package("mainspring-store", &["mainspring-history"])]).len(), 1);
        assert_eq!(check(&[package("mainspring-engine", &["mainspring-matcher"])]).len(), 1);
    }

    #[test]
    fn users_get_the_server_only_with_a_feature() {
        let breaches = check(&[package("mainspring", &["mainspring-sdk", "mainspring-server"])]);
        assert_eq!(breaches, ["mainspring depends on mainspring-server without a feature; make it optional"]);
    }

    #[test]
    fn the_pure_ones_know_no_runtime() {
        let breaches = check(&[package("mainspring-engine", &["tokio"])]);
        assert!(breaches[0].contains("pure"), "{breaches:?}");
    }

    #[test]
    fn a_new_package_must_be_given_a_layer() {
        assert!(check(&[package("mainspring-novel", &[])])[0].contains("no layer"));
    }
}
