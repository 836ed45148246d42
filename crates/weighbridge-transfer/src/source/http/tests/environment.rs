//! Proxies and certificate authorities, which come from the environment: each test runs in a child process.

use std::path::Path;

use super::{good, good_range, range, refused, source, unreachable};
use crate::{
    Fault,
    source::http::scripted::{Server, in_child, redirect, status},
};

#[tokio::test(flavor = "multi_thread")]
async fn goes_through_the_proxies_of_the_environment() {
    let proxy = Server::start(|request, _| match request.starts_with("CONNECT") {
        true => status("403 Forbidden").close(),
        false => good(),
    });
    let direct = Server::start(|_, _| good()).await;
    let proxy = proxy.await;
    let environment = [
        ("HTTP_PROXY", proxy.url("").replace("//", "//user:p%40ss@")),
        ("HTTPS_PROXY", proxy.url("").replace("//", "//user:p%40ss@")),
        ("NO_PROXY", "127.0.0.1".to_owned()),
        ("WEIGHBRIDGE_TEST_DIRECT", direct.url("")),
    ];
    if in_child(module_path!(), "goes_through_the_proxies_of_the_environment", &environment).await.is_some() {
        let requests = proxy.requests();
        assert!(requests[0].starts_with("get http://model.example/base/a/b http/1.1\r\n"), "{requests:?}");
        assert!(requests[1].starts_with("connect model.example:443 http/1.1\r\n"), "{requests:?}");
        for request in &requests {
            // user:p@ss
            assert!(request.contains("\r\nproxy-authorization: basic dxnlcjpwqhnz\r\n"), "{request}");
            assert!(request.contains("\r\nuser-agent: weighbridge/"), "{request}");
        }
        assert_eq!((requests.len(), direct.requests().len()), (2, 1));
        assert!(!direct.requests()[0].contains("proxy-authorization"));
        return;
    }
    assert_eq!(range(&source("http://model.example/base")).await, good_range());
    assert!(matches!(range(&source("https://model.example/base")).await, Err(Fault::Unreachable(_))));
    assert_eq!(range(&source(&std::env::var("WEIGHBRIDGE_TEST_DIRECT").unwrap())).await, good_range());
}

#[tokio::test(flavor = "multi_thread")]
async fn believes_the_authorities_of_the_environment_and_no_other() {
    const TEST: &str = "believes_the_authorities_of_the_environment_and_no_other";
    const ADDRESS: &str = "WEIGHBRIDGE_TEST_ADDRESS";
    if let Ok(address) = std::env::var(ADDRESS) {
        let got = range(&source(&format!("https://{address}/"))).await;
        if std::env::var_os("WEIGHBRIDGE_TEST_BELIEVE").is_some() {
            assert_eq!(got, good_range());
            let downgrade = source(&format!("https://{address}/")).whole_at("downgrade", 9).await;
            assert_eq!(downgrade, refused("redirects from https to http"));
        } else {
            let Err(Fault::Unreachable(what)) = got else { panic!("{got:?}") };
            assert!(what.contains("certificate"), "{what}");
        }
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let address = tls::start(folder.path());
    let at = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let believed = [
        (ADDRESS, address.clone()),
        ("WEIGHBRIDGE_TEST_BELIEVE", "1".to_owned()),
        ("SSL_CERT_FILE", at("ca.pem")),
    ];
    assert!(in_child(module_path!(), TEST, &believed).await.is_some());
    for other in ["other.pem", "none.pem"] {
        let refused = [(ADDRESS, address.clone()), ("SSL_CERT_FILE", at(other))];
        assert!(in_child(module_path!(), TEST, &refused).await.is_some());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_that_speaks_no_http_is_named_as_the_reason() {
    let environment = [("ALL_PROXY", "socks5://127.0.0.1:9".to_owned())];
    if in_child(module_path!(), "a_proxy_that_speaks_no_http_is_named_as_the_reason", &environment)
        .await
        .is_none()
    {
        for url in ["http://127.0.0.1:9/", "https://127.0.0.1:9/"] {
            let told = unreachable("cannot be connected to: its proxy speaks no HTTP");
            assert_eq!(range(&source(url)).await, told);
        }
    }
}

/// A TLS server whose certificate is from an authority of its own.
mod tls {
    use std::{
        io::{BufRead as _, BufReader, Write as _},
        net::TcpListener,
        process::Command,
        sync::Arc,
        thread,
    };

    use rustls::{
        ServerConfig, ServerConnection, Stream,
        pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    };

    use super::Path;

    /// Starts the server, and returns its address. Leaves two authorities, `ca.pem` and `other.pem`, in the folder.
    pub(super) fn start(folder: &Path) -> String {
        let ca = |name: &str| {
            format!("req -x509 {NEW} -keyout {name}.key -out {name}.pem -subj /CN={name} -days 2")
        };
        openssl(folder, &ca("ca"));
        openssl(folder, &ca("other"));
        openssl(folder, &format!("req {NEW} -keyout leaf.key -out leaf.csr -subj /CN=leaf"));
        std::fs::write(folder.join("names"), "subjectAltName=IP:127.0.0.1").unwrap();
        openssl(
            folder,
            "x509 -req -in leaf.csr -CA ca.pem -CAkey ca.key -CAcreateserial -out leaf.pem -days 2 -extfile names",
        );
        let certificate = CertificateDer::from_pem_file(folder.join("leaf.pem")).unwrap();
        let key = PrivateKeyDer::from_pem_file(folder.join("leaf.key")).unwrap();
        let provider = rustls::crypto::ring::default_provider();
        let config =
            ServerConfig::builder_with_provider(provider.into()).with_safe_default_protocol_versions();
        let config = config.unwrap().with_no_client_auth().with_single_cert(vec![certificate], key);
        let config = Arc::new(config.unwrap());
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        thread::spawn(move || {
            for mut stream in listener.incoming().map_while(Result::ok) {
                let mut connection = ServerConnection::new(Arc::clone(&config)).unwrap();
                // Ends with an error when the client does not trust the certificate.
                let _ = serve(Stream::new(&mut connection, &mut stream));
                connection.send_close_notify();
                let _ = connection.complete_io(&mut stream);
            }
        });
        address
    }

    fn serve(stream: Stream<'_, ServerConnection, std::net::TcpStream>) -> std::io::Result<()> {
        let mut stream = BufReader::new(stream);
        let (mut first, mut line) = (String::new(), String::new());
        stream.read_line(&mut first)?;
        while line != "\r\n" {
            line.clear();
            stream.read_line(&mut line)?;
        }
        let reply = match first.contains("downgrade") {
            true => super::redirect("http://127.0.0.1/"),
            false => super::good(),
        };
        stream.into_inner().write_all(&reply.close().bytes())
    }

    fn openssl(folder: &Path, arguments: &str) {
        let output = Command::new("openssl").args(arguments.split(' ')).current_dir(folder).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    const NEW: &str = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";
}
