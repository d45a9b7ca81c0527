//! The configuration file of `server start`: TOML, its keys are the names of the flags.

use std::ops::Range;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::Misuse;
use crate::args::{self, LogFormat, LogLevel, SearchAttribute};

/// What the file says. What it leaves out is `None` or empty.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct ConfigFile {
    pub(crate) data_dir: Option<PathBuf>,
    pub(crate) ip: Option<String>,
    pub(crate) port: Option<u16>,
    pub(crate) namespace: Vec<String>,
    pub(crate) search_attribute: Vec<SearchAttribute>,
    pub(crate) metrics_port: Option<u16>,
    pub(crate) tls_cert: Option<PathBuf>,
    pub(crate) tls_key: Option<PathBuf>,
    pub(crate) tls_client_ca: Option<PathBuf>,
    pub(crate) log_level: Option<LogLevel>,
    pub(crate) log_format: Option<LogFormat>,
}

/// All keys, to find the one that was meant; a test holds them against [`ConfigFile`].
const KEYS: [&str; 11] = [
    "data-dir",
    "ip",
    "port",
    "namespace",
    "search-attribute",
    "metrics-port",
    "tls-cert",
    "tls-key",
    "tls-client-ca",
    "log-level",
    "log-format",
];

/// Less alike than this, a key is not what was meant. clap suggests flags by the same measure.
const ALIKE: f64 = 0.7;

impl ConfigFile {
    /// Reads the file; its relative paths start from the folder it lies in.
    ///
    /// # Errors
    /// One line that names the file, the place in it and what to do.
    pub(crate) fn read(path: &Path) -> Result<ConfigFile, Misuse> {
        let of_file = |why: String| Misuse(format!("{}{why}", path.display()));
        let text = std::fs::read_to_string(path).map_err(|error| {
            Misuse(format!("cannot read the configuration {}: {error}; give --config a file", path.display()))
        })?;
        let mut file = parse(&text).map_err(of_file)?;
        let folder = path.parent().unwrap_or(Path::new(""));
        for named in [&mut file.data_dir, &mut file.tls_cert, &mut file.tls_key, &mut file.tls_client_ca] {
            *named = named.take().map(|relative| folder.join(relative));
        }
        Ok(file)
    }
}

/// On failure the text begins with the place.
fn parse(text: &str) -> Result<ConfigFile, String> {
    let table: toml::Table = toml::from_str(text).map_err(|error| located(text, &error))?;
    if let Some(unknown) = table.keys().find(|key| !KEYS.contains(&key.as_str())) {
        return Err(format!(": there is no key `{unknown}`; {}", advice(unknown)));
    }
    let file: ConfigFile = toml::from_str(text).map_err(|error| located(text, &error))?;
    let paths = [&file.data_dir, &file.tls_cert, &file.tls_key, &file.tls_client_ca];
    if paths.iter().any(|path| path.as_deref().is_some_and(|path| path.as_os_str().is_empty())) {
        // Left out by a template perhaps: a server without its TLS must not come of that.
        return Err(": a path is empty; name a file, or leave the key out".to_owned());
    }
    for name in &file.namespace {
        args::namespace(name).map_err(|why| format!(": `namespace`: {why}"))?;
    }
    Ok(file)
}

/// The library's own text spreads over several lines and shows the source.
fn located(text: &str, error: &toml::de::Error) -> String {
    let line = |span: Range<usize>| 1 + text[..span.start.min(text.len())].matches('\n').count();
    match error.span().map(line) {
        Some(line) => format!(", line {line}: {}", error.message()),
        None => format!(": {}", error.message()),
    }
}

fn advice(unknown: &str) -> String {
    let likeness = |key: &&str| strsim::jaro(unknown, key);
    match KEYS.iter().copied().max_by(|a, b| likeness(a).total_cmp(&likeness(b))) {
        Some(nearest) if likeness(&nearest) > ALIKE => format!("is `{nearest}` meant?"),
        _ => format!("the keys are {}", KEYS.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVERYTHING: &str = r#"
        data-dir = "data"
        ip = "0.0.0.0"
        port = 7233
        namespace = ["orders"]
        search-attribute = ["Customer=Keyword"]
        metrics-port = 9090
        tls-cert = "tls/server.pem"
        tls-key = "/etc/key.pem"
        tls-client-ca = "ca.pem"
        log-level = "debug"
        log-format = "json"
    "#;

    fn refused(text: &str) -> String {
        parse(text).expect_err("it must be refused")
    }

    #[test]
    fn the_list_of_keys_is_that_of_the_file() {
        let error = toml::from_str::<ConfigFile>("nonsense = 1").unwrap_err();
        let expected: Vec<String> = KEYS.iter().map(|key| format!("`{key}`")).collect();
        assert!(error.message().ends_with(&expected.join(", ")), "{}", error.message());
    }

    #[test]
    fn every_key_is_read_and_paths_start_from_the_folder_of_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("mainspring.toml");
        std::fs::write(&path, EVERYTHING).unwrap();
        let file = ConfigFile::read(&path).unwrap();
        assert_eq!(file.data_dir, Some(folder.path().join("data")));
        assert_eq!(file.tls_cert, Some(folder.path().join("tls/server.pem")));
        assert_eq!(file.tls_key, Some(PathBuf::from("/etc/key.pem")));
        assert_eq!((file.ip.as_deref(), file.port, file.metrics_port), (Some("0.0.0.0"), Some(7233), Some(9090)));
        assert_eq!((file.log_level, file.log_format), (Some(LogLevel::Debug), Some(LogFormat::Json)));
        assert_eq!(file.search_attribute[0].name, "Customer");
    }

    #[test]
    fn an_empty_file_says_nothing() {
        assert!(parse("").unwrap().data_dir.is_none());
    }

    #[test]
    fn an_unknown_key_suggests_the_nearest() {
        assert_eq!(refused("data_dir = \"x\""), ": there is no key `data_dir`; is `data-dir` meant?");
        assert_eq!(refused("prot = 1"), ": there is no key `prot`; is `port` meant?");
        assert!(refused("zzz = 1").contains("the keys are data-dir, ip, port"));
    }

    #[test]
    fn a_bad_value_names_its_line() {
        assert!(refused("\nport = 70000").starts_with(", line 2: invalid value"), "{}", refused("\nport = 70000"));
        assert!(refused("log-level = \"loud\"").contains("`never`"));
        assert!(refused("search-attribute = [\"A=Number\"]").contains("KeywordList"));
        assert!(refused("ip = \"a\"\nport").starts_with(", line 2: "), "{}", refused("ip = \"a\"\nport"));
        assert!(refused("namespace = [\"\"]").contains("needs a name"));
        assert!(refused("tls-cert = \"\"").contains("a path is empty"));
    }
}
