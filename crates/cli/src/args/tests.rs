//! The command lines that people and SDK test environments really use.

use clap::CommandFactory;

use super::*;

fn parse(flags: &[&str]) -> Result<(Global, StartDev), clap::Error> {
    let words = ["mainspring", "server", "start-dev"].iter().chain(flags);
    let cli = Cli::try_parse_from(words)?;
    let Command::Server { command: ServerCommand::StartDev(start_dev) } = cli.command else {
        panic!("another command");
    };
    Ok((cli.global, *start_dev))
}

fn parsed(flags: &[&str]) -> (Global, StartDev) {
    parse(flags).expect("the flags must be accepted")
}

fn refusal(flags: &[&str]) -> String {
    parse(flags).expect_err("the flags must be refused").to_string()
}

#[test]
fn the_declaration_is_sound() {
    Cli::command().debug_assert();
}

#[test]
fn without_flags_it_is_the_usual_port_in_memory() {
    let (global, flags) = parsed(&[]);
    assert_eq!((flags.ip.as_str(), flags.port), ("localhost", 7233));
    assert_eq!(flags.db_filename, None);
    assert_eq!((flags.ui.headless, flags.log_config, flags.accept_loss), (None, None, None));
    assert_eq!((global.log_level, global.log_format), (None, None));
    assert!(global.ignored.given().is_empty() && flags.ui.given().is_empty());
}

/// What Core's ephemeral server runs behind `WorkflowEnvironment.start_time_skipping`, given a link to this program.
#[test]
fn under_the_name_of_the_test_server_it_is_one() {
    let given = ["/opt/temporal-test-server", "7300", "--log-level", "error"].map(OsString::from);
    let cli = Cli::try_parse_from(words(given)).unwrap();
    let Command::Server { command: ServerCommand::StartDev(flags) } = cli.command else { panic!("another command") };
    assert_eq!((flags.port, flags.time_skipping), (7300, Some(true)));
    let given = ["mainspring", "backup"].map(OsString::from);
    assert_eq!(words(given.clone()), given);
}

/// What the ephemeral server of Core builds, behind `WorkflowEnvironment.start_local` (Python, .NET, Ruby) and
/// `TestWorkflowEnvironment.createLocal` (TypeScript): crate `temporalio-sdk-core`, `src/ephemeral_server/mod.rs`.
#[test]
fn the_command_line_of_sdk_test_environments_is_accepted() {
    let (global, flags) = parsed(&[
        "--port",
        "41234",
        "--namespace",
        "default",
        "--ip",
        "127.0.0.1",
        "--log-format",
        "pretty",
        "--log-level",
        "warn",
        "--dynamic-config-value",
        "frontend.enableServerVersionCheck=false",
        "--dynamic-config-value",
        "frontend.enableUpdateWorkflowExecution=true",
        "--db-filename",
        "data.db",
        "--ui-port",
        "42234",
        "--headless",
        "--search-attribute",
        "CustomerId=Keyword",
    ]);
    assert_eq!((flags.ip.as_str(), flags.port), ("127.0.0.1", 41234));
    assert_eq!(flags.namespace, ["default"]);
    assert_eq!(flags.dynamic_config_value.len(), 2);
    assert_eq!(flags.db_filename, Some(PathBuf::from("data.db")));
    assert_eq!(flags.ui.given(), ["--ui-port"]);
    assert_eq!(flags.search_attribute[0].kind, SearchAttributeType::Keyword);
    assert_eq!((global.log_level, global.log_format), (Some(LogLevel::Warn), Some(LogFormat::Pretty)));
}

/// The Go SDK's `testsuite.StartDevServer` writes values behind an equals sign.
#[test]
fn values_behind_an_equals_sign_are_accepted() {
    let (_, flags) = parsed(&["--port=7000", "--ip=::1", "--headless=true", "--log-config=false", "-n=a", "-n", "b"]);
    assert_eq!((flags.ip.as_str(), flags.port), ("::1", 7000));
    assert_eq!((flags.ui.headless, flags.log_config), (Some(true), Some(false)));
    assert_eq!(flags.namespace, ["a", "b"]);
}

#[test]
fn short_forms_are_those_of_the_original() {
    let (_, flags) = parsed(&["-f", "x.db", "-p", "1", "-n", "one"]);
    assert_eq!((flags.db_filename, flags.port), (Some(PathBuf::from("x.db")), 1));
    assert_eq!(flags.namespace, ["one"]);
}

#[test]
fn every_other_flag_of_the_original_is_accepted() {
    let (_, flags) = parsed(&[
        "--http-port",
        "7243",
        "--metrics-port",
        "9090",
        "--ui-ip",
        "127.0.0.1",
        "--ui-asset-path",
        "assets",
        "--ui-codec-endpoint",
        "http://localhost:1",
        "--ui-public-path",
        "/",
        "--ui-disable-news-fetch",
        "--sqlite-pragma",
        "cache_size=-2000",
        "--log-config",
    ]);
    assert_eq!((flags.http_port, flags.metrics_port), (Some(7243), Some(9090)));
    assert_eq!(flags.ui.given().len(), 4);
    assert_eq!(flags.sqlite_pragma, [SqlitePragma { name: "cache_size".into(), value: "-2000".into() }]);
    assert_eq!(flags.log_config, Some(true));
}

#[test]
fn global_options_may_stand_before_and_after_the_command() {
    let cli = Cli::try_parse_from(["mainspring", "--log-level", "never", "server", "start-dev", "--color", "never"]);
    let global = cli.expect("accepted").global;
    assert_eq!((global.log_level, global.color), (Some(LogLevel::Never), Color::Never));
}

#[test]
fn options_of_a_client_are_accepted_and_known_to_be_idle() {
    let (global, _) = parsed(&["--env", "prod", "-o", "json", "--disable-config-file"]);
    assert_eq!(global.ignored.given(), ["--disable-config-file", "--env", "--output"]);
}

#[test]
fn dynamic_values_are_json_and_may_hold_an_equals_sign() {
    let (_, flags) = parsed(&["--dynamic-config-value", "a.b={\"x\":\"=\"}"]);
    assert_eq!(
        flags.dynamic_config_value,
        [DynamicConfigValue { key: "a.b".into(), value: serde_json::json!({"x": "="}) }]
    );
    assert!(refusal(&["--dynamic-config-value", "a.b=text"]).contains("must be JSON"));
    assert!(refusal(&["--dynamic-config-value", "a.b"]).contains("KEY=VALUE"));
}

#[test]
fn search_attribute_types_are_checked_without_regard_to_case() {
    let (_, flags) = parsed(&["--search-attribute", "A=keywordlist", "--search-attribute", "B=Datetime"]);
    assert_eq!(flags.search_attribute[0].kind, SearchAttributeType::KeywordList);
    assert_eq!(flags.search_attribute[1].kind, SearchAttributeType::Datetime);
    assert!(refusal(&["--search-attribute", "A=Bogus"]).contains("KeywordList"));
}

#[test]
fn values_out_of_range_are_refused() {
    assert!(refusal(&["--port", "99999"]).contains("--port"));
    assert!(refusal(&["--namespace", ""]).contains("needs a name"));
    assert!(refusal(&["--sqlite-pragma", "synchronous"]).contains("KEY=VALUE"));
    assert!(refusal(&["extra"]).contains("extra"));
}
