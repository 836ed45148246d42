//! A hub of one's own: a program with a server and a route of its own, that gives everything else to `weighbridge-serve`.
//!
//! ```console
//! $ cargo run -p weighbridge-serve --example hub -- MODELS 127.0.0.1:8080
//! $ HF_ENDPOINT=http://127.0.0.1:8080 hf download ORG/NAME
//! $ curl http://127.0.0.1:8080/changes
//! ```

use std::{
    convert::Infallible,
    env,
    error::Error,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use http_body_util::{Either, Full};
use hyper::{Request, Response, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use weighbridge_serve::{Body, Change, Limits, Models, Rules, Site};

/// The changes so far, a line for each.
type History = Arc<Mutex<String>>;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut words = env::args().skip(1);
    let (Some(folder), Some(address)) = (words.next(), words.next()) else {
        return Err("usage: hub MODELS ADDRESS".into());
    };
    let models = Arc::new(Models::of(vec![folder.into()]));
    let site = Site::new(models, Rules { hub: true, ..Rules::default() }, &Limits::default());
    let history = History::default();
    tokio::spawn(watch(Arc::clone(&site), Arc::clone(&history)));
    let listener = TcpListener::bind(address).await?;
    println!("at http://{}", listener.local_addr()?);
    loop {
        let (stream, from) = listener.accept().await?;
        let (site, history) = (Arc::clone(&site), Arc::clone(&history));
        let service = service_fn(move |request: Request<Incoming>| {
            let (site, history) = (Arc::clone(&site), Arc::clone(&history));
            async move {
                let answer = match request.uri().path() {
                    "/changes" => own(&history),
                    _ => site.answer(request, Some(from)).await.map(Either::Left),
                };
                Ok::<_, Infallible>(answer)
            }
        });
        tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
    }
}

/// The route of this program.
fn own(history: &History) -> Response<Either<Body, Full<hyper::body::Bytes>>> {
    let text = history.lock().unwrap_or_else(PoisonError::into_inner).clone();
    Response::new(Either::Right(Full::new(text.into())))
}

/// Looks at the models once a second. A release that is weighed, or fetched, into the folder is served from then on.
async fn watch(site: Arc<Site>, history: History) {
    loop {
        let looked = Arc::clone(&site);
        let changes = tokio::task::spawn_blocking(move || looked.look()).await.unwrap_or_default();
        for change in changes {
            let line = match change {
                Change::Published { name, revision, head, .. } => {
                    format!("{name} revision {revision}, head {head}\n")
                }
                Change::Withdrawn { name, .. } => format!("{name} is gone\n"),
                other => format!("{other:?}\n"),
            };
            print!("{line}");
            history.lock().unwrap_or_else(PoisonError::into_inner).push_str(&line);
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}
