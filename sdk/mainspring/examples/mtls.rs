//! Mutual TLS: the worker and the client check the server's certificate, and the server checks theirs.
//!
//! `mainspring server start-dev --tls-cert server.pem --tls-key server.key --tls-client-ca ca.pem`, then
//! `cargo run -p mainspring --example mtls ca.pem client.pem client.key`, with the server at `TEMPORAL_ADDRESS` or
//! `localhost:7233`. Without code, `TEMPORAL_TLS_CLIENT_CERT_PATH` and its relatives do the same for `from_env`.
#![expect(clippy::print_stdout, reason = "it prints its results")]

use mainspring::prelude::*;

#[workflow]
async fn greet(_cx: Ctx, name: String) -> Result<String> {
    Ok(format!("Hello, {name}!"))
}

#[tokio::main]
async fn main() -> Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [ca, certificate, key] = &words[..] else { return Err(Error::msg("say: CA CERTIFICATE KEY, three files")) };

    // Files are looked at again, so that a certificate is renewed without a restart.
    let trusted = Tls::new().server_ca_file(ca);
    let shown = trusted.clone().client_certificate_files(certificate, key);
    let client = Client::connect(Connect::from_env()?.tls(shown)).await?;
    let worker = Worker::builder(&client, "mtls").register(greet::def()).spawn()?;
    println!("with a certificate: {}", client.execute(greet("Ann".to_owned()).id("mtls-1").queue("mtls")).await?);
    worker.stop().await?;

    match Client::connect(Connect::from_env()?.tls(trusted)).await {
        Ok(_) => Err(Error::msg("this server asks nobody for a certificate")),
        Err(refused) => {
            println!("without one: {refused}");
            Ok(())
        }
    }
}
