//! The connection as the environment describes it, the same for every SDK and the `temporal` CLI.
//!
//! A file, `$TEMPORAL_CONFIG_FILE` or `temporalio/temporal.toml` in the user's configuration folder, has profiles; the
//! variable `TEMPORAL_PROFILE` says which one counts, `default` if it is not set:
//!
//! ```toml
//! [profile.default]
//! address = "orders.a1b2c.tmprl.cloud:7233"
//! namespace = "orders.a1b2c"
//!
//! [profile.default.tls]
//! client_cert_path = "client.pem"
//! client_key_path = "client.key"
//!
//! [profile.default.grpc_meta]
//! tenant = "blue"
//! ```
//!
//! Variables come after it and win: `TEMPORAL_ADDRESS`, `TEMPORAL_NAMESPACE`, `TEMPORAL_API_KEY`, `TEMPORAL_TLS`,
//! `TEMPORAL_TLS_CLIENT_CERT_PATH` or `_DATA`, `TEMPORAL_TLS_CLIENT_KEY_PATH` or `_DATA`,
//! `TEMPORAL_TLS_SERVER_CA_CERT_PATH` or `_DATA`, `TEMPORAL_TLS_SERVER_NAME`, and `TEMPORAL_GRPC_META_<NAME>`.

use std::{collections::BTreeMap, path::PathBuf};

use serde::Deserialize;

use crate::client::{Connect, Tls};

/// One profile: what is not set is left to the defaults.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Profile {
    /// `host:port` of the server.
    pub address: Option<String>,
    /// The namespace.
    pub namespace: Option<String>,
    /// An API key; it turns TLS on unless that is off explicitly.
    pub api_key: Option<String>,
    /// TLS, if it is mentioned.
    pub tls: Option<TlsProfile>,
    /// A server that encodes and decodes payloads.
    pub codec: Option<CodecProfile>,
    /// Headers of every call.
    pub grpc_meta: BTreeMap<String, String>,
}

/// TLS in a profile. Of each pair of a path and data only one may be set.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct TlsProfile {
    /// Turns it off when true, on when false.
    pub disabled: Option<bool>,
    /// A file with the client's certificate.
    pub client_cert_path: Option<String>,
    /// The client's certificate.
    pub client_cert_data: Option<String>,
    /// A file with the client's key.
    pub client_key_path: Option<String>,
    /// The client's key.
    pub client_key_data: Option<String>,
    /// A file with the authorities to trust.
    pub server_ca_cert_path: Option<String>,
    /// The authorities to trust.
    pub server_ca_cert_data: Option<String>,
    /// The name in the server's certificate.
    pub server_name: Option<String>,
    /// Whether to accept any certificate. This SDK does not, and says so.
    pub disable_host_verification: Option<bool>,
}

/// A codec server in a profile, which command lines and user interfaces use.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct CodecProfile {
    /// Its URL.
    pub endpoint: Option<String>,
    /// The authorization header for it.
    pub auth: Option<String>,
}

/// What is wrong with the environment. One line that says what to change.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProfileError {
    /// The file cannot be read.
    #[error("cannot read {}: {why}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// The file is no profile file.
    #[error("{}: {why}", path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// The profile that was asked for is not there.
    #[error("there is no profile {0:?}; TEMPORAL_PROFILE names one of the profile file")]
    NoProfile(String),
    /// A value is not what it must be.
    #[error("{name} is {value:?}; {wanted}")]
    Value {
        /// The variable or key.
        name: String,
        /// Its value.
        value: String,
        /// What it must be.
        wanted: &'static str,
    },
    /// Two values that exclude each other.
    #[error("{0} and {1} are both set; set one of them")]
    Both(String, String),
    /// Something is set that only makes sense with something else.
    #[error("{0} is set, but {1} is not")]
    Alone(String, String),
    /// Something this SDK does not do.
    #[error("{0}")]
    Unsupported(&'static str),
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct File {
    profile: BTreeMap<String, Profile>,
}

impl Profile {
    /// As the environment says: the profile file, then the variables.
    ///
    /// # Errors
    /// When one of them is wrong.
    pub fn from_env() -> Result<Profile, ProfileError> {
        let variables = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .filter(|(name, _)| name.starts_with("TEMPORAL_"))
            .collect();
        Profile::load(&variables, default_file())
    }

    /// The same from variables of one's own, and a file to take when they name none.
    ///
    /// # Errors
    /// When one of them is wrong.
    pub fn load(variables: &BTreeMap<String, String>, file: Option<PathBuf>) -> Result<Profile, ProfileError> {
        let set = |name: &str| variables.get(name).filter(|value| !value.is_empty());
        let path = set("TEMPORAL_CONFIG_FILE").map(PathBuf::from).or(file);
        let mut profiles = match path {
            Some(path) => read(path)?,
            None => BTreeMap::new(),
        };
        let profile = match set("TEMPORAL_PROFILE") {
            Some(name) => profiles.remove(name).ok_or_else(|| ProfileError::NoProfile(name.clone()))?,
            None => profiles.remove("default").unwrap_or_default(),
        };
        profile.normalized().overridden_by(variables)
    }

    /// Names of headers as they are on the wire.
    fn normalized(mut self) -> Profile {
        let headers = std::mem::take(&mut self.grpc_meta);
        self.grpc_meta = headers.into_iter().map(|(name, value)| (header_name(&name), value)).collect();
        self
    }

    fn overridden_by(mut self, variables: &BTreeMap<String, String>) -> Result<Profile, ProfileError> {
        for (name, value) in variables {
            let Some(key) = name.strip_prefix("TEMPORAL_") else { continue };
            if let Some(header) = key.strip_prefix("GRPC_META_") {
                let header = header_name(header);
                if value.is_empty() {
                    self.grpc_meta.remove(&header);
                } else {
                    self.grpc_meta.insert(header, value.clone());
                }
                continue;
            }
            if value.is_empty() {
                continue;
            }
            let text = || Some(value.clone());
            match key {
                "ADDRESS" => self.address = text(),
                "NAMESPACE" => self.namespace = text(),
                "API_KEY" => self.api_key = text(),
                "TLS" => self.tls.get_or_insert_default().disabled = Some(!truth(name, value)?),
                "CODEC_ENDPOINT" => self.codec.get_or_insert_default().endpoint = text(),
                "CODEC_AUTH" => self.codec.get_or_insert_default().auth = text(),
                _ => {
                    if let Some(key) = key.strip_prefix("TLS_") {
                        self.tls_overridden_by(key, name, value)?;
                    }
                }
            }
        }
        Ok(self)
    }

    fn tls_overridden_by(&mut self, key: &str, name: &str, value: &str) -> Result<(), ProfileError> {
        let mut tls = self.tls.clone().unwrap_or_default();
        let text = Some(value.to_owned());
        match key {
            "CLIENT_CERT_PATH" => tls.client_cert_path = text,
            "CLIENT_CERT_DATA" => tls.client_cert_data = text,
            "CLIENT_KEY_PATH" => tls.client_key_path = text,
            "CLIENT_KEY_DATA" => tls.client_key_data = text,
            "SERVER_CA_CERT_PATH" => tls.server_ca_cert_path = text,
            "SERVER_CA_CERT_DATA" => tls.server_ca_cert_data = text,
            "SERVER_NAME" => tls.server_name = text,
            "DISABLE_HOST_VERIFICATION" => tls.disable_host_verification = Some(truth(name, value)?),
            _ => return Ok(()),
        }
        self.tls = Some(tls);
        Ok(())
    }
}

impl TryFrom<Profile> for Connect {
    type Error = ProfileError;

    fn try_from(profile: Profile) -> Result<Connect, ProfileError> {
        let mut connect = Connect::to(profile.address.unwrap_or_else(|| "localhost:7233".to_owned()));
        if let Some(namespace) = profile.namespace {
            connect = connect.namespace(namespace);
        }
        for (name, value) in profile.grpc_meta {
            connect = connect.header(name, value);
        }
        let off = profile.tls.as_ref().is_some_and(|tls| tls.disabled == Some(true));
        if let Some(key) = profile.api_key {
            connect = connect.api_key(key);
        }
        if off {
            return Ok(connect.in_clear());
        }
        match profile.tls {
            Some(tls) => Ok(connect.tls(tls.try_into()?)),
            None => Ok(connect),
        }
    }
}

impl TryFrom<TlsProfile> for Tls {
    type Error = ProfileError;

    fn try_from(profile: TlsProfile) -> Result<Tls, ProfileError> {
        if profile.disable_host_verification == Some(true) {
            return Err(ProfileError::Unsupported(
                "disable_host_verification is set; this SDK always verifies: name the server's authority with \
                 server_ca_cert_path, and the name in its certificate with server_name",
            ));
        }
        let mut tls = Tls::new();
        match one_of("server_ca_cert", profile.server_ca_cert_path, profile.server_ca_cert_data)? {
            Some(Given::Path(path)) => tls = tls.server_ca_file(path),
            Some(Given::Data(data)) => tls = tls.server_ca(data),
            None => {}
        }
        let certificate = one_of("client_cert", profile.client_cert_path, profile.client_cert_data)?;
        let key = one_of("client_key", profile.client_key_path, profile.client_key_data)?;
        tls = match (certificate, key) {
            (None, None) => tls,
            (Some(Given::Path(certificate)), Some(Given::Path(key))) => tls.client_certificate_files(certificate, key),
            (Some(certificate), Some(key)) => tls.client_certificate(certificate.read()?, key.read()?),
            (Some(_), None) => return Err(ProfileError::Alone("client_cert".to_owned(), "client_key".to_owned())),
            (None, Some(_)) => return Err(ProfileError::Alone("client_key".to_owned(), "client_cert".to_owned())),
        };
        Ok(match profile.server_name {
            Some(name) => tls.server_name(name),
            None => tls,
        })
    }
}

enum Given {
    Path(String),
    Data(String),
}

impl Given {
    fn read(self) -> Result<Vec<u8>, ProfileError> {
        match self {
            Given::Data(data) => Ok(data.into_bytes()),
            Given::Path(path) => {
                std::fs::read(&path).map_err(|error| ProfileError::Read { path: path.into(), why: error.to_string() })
            }
        }
    }
}

fn one_of(name: &str, path: Option<String>, data: Option<String>) -> Result<Option<Given>, ProfileError> {
    match (path, data) {
        (Some(_), Some(_)) => Err(ProfileError::Both(format!("{name}_path"), format!("{name}_data"))),
        (Some(path), None) => Ok(Some(Given::Path(path))),
        (None, Some(data)) => Ok(Some(Given::Data(data))),
        (None, None) => Ok(None),
    }
}

/// A file that is not there is an empty one, as in the other SDKs.
fn read(path: PathBuf) -> Result<BTreeMap<String, Profile>, ProfileError> {
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
        Err(error) => return Err(ProfileError::Read { path, why: error.to_string() }),
    };
    let file: File = toml::from_str(&text).map_err(|error| ProfileError::Parse { path, why: error.to_string() })?;
    Ok(file.profile)
}

/// `temporalio/temporal.toml` in the user's configuration folder.
fn default_file() -> Option<PathBuf> {
    let folder = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let configuration = if cfg!(windows) {
        folder("APPDATA")
    } else if cfg!(target_os = "macos") {
        folder("HOME").map(|home| home.join("Library/Application Support"))
    } else {
        folder("XDG_CONFIG_HOME").or_else(|| folder("HOME").map(|home| home.join(".config")))
    };
    configuration.map(|folder| folder.join("temporalio").join("temporal.toml"))
}

/// Variables and TOML keys have underscores where headers have hyphens.
fn header_name(name: &str) -> String {
    name.to_lowercase().replace('_', "-")
}

fn truth(name: &str, value: &str) -> Result<bool, ProfileError> {
    match value.to_lowercase().as_str() {
        "true" | "1" => Ok(true),
        "false" | "0" => Ok(false),
        _ => {
            let wanted = "it must be true or false";
            Err(ProfileError::Value { name: name.to_owned(), value: value.to_owned(), wanted })
        }
    }
}

#[cfg(test)]
mod tests;
