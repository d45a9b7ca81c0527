//! Profiles from files and variables, as the other SDKs read them.

use super::*;

const FILE: &str = r#"
[profile.default]
address = "file:7233"
namespace = "from-file"

[profile.default.grpc_meta]
Some_Key = "file"
other = "kept"

[profile.cloud]
address = "cloud:7233"
api_key = "secret"
unknown = "is ignored"

[profile.cloud.tls]
server_name = "cloud.example"
client_cert_path = "client.pem"
client_key_data = "KEY"
"#;

struct Folder(PathBuf);

impl Folder {
    fn with(text: &str) -> Folder {
        let folder = std::env::temp_dir().join(format!("mainspring-{}", uuid::Uuid::new_v4()));
        std::fs::create_dir(&folder).unwrap();
        std::fs::write(folder.join("temporal.toml"), text).unwrap();
        Folder(folder)
    }

    fn file(&self) -> Option<PathBuf> {
        Some(self.0.join("temporal.toml"))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn load(text: &str, variables: &[(&str, &str)]) -> Result<Profile, ProfileError> {
    let folder = Folder::with(text);
    let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    Profile::load(&variables, folder.file())
}

#[test]
fn the_default_profile_is_read_without_variables() {
    let profile = load(FILE, &[]).unwrap();
    assert_eq!(profile.address.as_deref(), Some("file:7233"));
    assert_eq!(profile.grpc_meta["some-key"], "file");
    assert_eq!(profile.tls, None);
}

#[test]
fn variables_win_over_the_file() {
    let profile = load(
        FILE,
        &[
            ("TEMPORAL_ADDRESS", "env:7233"),
            ("TEMPORAL_NAMESPACE", ""),
            ("TEMPORAL_GRPC_META_SOME_KEY", "env"),
            ("TEMPORAL_GRPC_META_OTHER", ""),
            ("TEMPORAL_TLS_UNKNOWN", "x"),
        ],
    )
    .unwrap();
    assert_eq!(profile.address.as_deref(), Some("env:7233"));
    assert_eq!(profile.namespace.as_deref(), Some("from-file"));
    assert_eq!(profile.grpc_meta, BTreeMap::from([("some-key".to_owned(), "env".to_owned())]));
    assert_eq!(profile.tls, None);
}

#[test]
fn another_profile_is_named_by_a_variable() {
    let profile = load(FILE, &[("TEMPORAL_PROFILE", "cloud")]).unwrap();
    let tls = profile.tls.clone().unwrap();
    assert_eq!((tls.client_cert_path.as_deref(), tls.client_key_data.as_deref()), (Some("client.pem"), Some("KEY")));
    assert_eq!(load(FILE, &[("TEMPORAL_PROFILE", "none")]), Err(ProfileError::NoProfile("none".to_owned())));
}

#[test]
fn no_file_is_no_profile() {
    let profile = Profile::load(&BTreeMap::new(), Some(PathBuf::from("no/such/file"))).unwrap();
    assert_eq!(profile, Profile::default());
    assert_eq!(Connect::try_from(profile).unwrap().target(), "localhost:7233");
}

#[test]
fn an_api_key_turns_tls_on_unless_it_is_off() {
    let tls_of = |variables: &[(&str, &str)]| {
        let connect = Connect::try_from(load("", variables).unwrap()).unwrap();
        format!("{connect:?}").contains("tls: Some")
    };
    assert!(!tls_of(&[]));
    assert!(tls_of(&[("TEMPORAL_API_KEY", "k")]));
    assert!(tls_of(&[("TEMPORAL_TLS", "true")]));
    assert!(tls_of(&[("TEMPORAL_TLS_SERVER_NAME", "n")]));
    assert!(!tls_of(&[("TEMPORAL_API_KEY", "k"), ("TEMPORAL_TLS", "false")]));
}

#[test]
fn contradictions_are_named() {
    let refused = |variables: &[(&str, &str)]| Connect::try_from(load(FILE, variables)?).map(|_| ());
    let refused = |variables: &[(&str, &str)]| refused(variables).unwrap_err().to_string();
    let both = refused(&[("TEMPORAL_PROFILE", "cloud"), ("TEMPORAL_TLS_CLIENT_CERT_DATA", "CERT")]);
    assert_eq!(both, "client_cert_path and client_cert_data are both set; set one of them");
    let alone = refused(&[("TEMPORAL_TLS_CLIENT_KEY_DATA", "KEY")]);
    assert_eq!(alone, "client_key is set, but client_cert is not");
    assert!(refused(&[("TEMPORAL_TLS", "maybe")]).contains("TEMPORAL_TLS is \"maybe\""));
    assert!(refused(&[("TEMPORAL_TLS_DISABLE_HOST_VERIFICATION", "1")]).contains("always verifies"));
    assert!(matches!(load("profile = 5", &[]), Err(ProfileError::Parse { .. })));
}
