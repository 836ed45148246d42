//! A node that fetches, gives to peers and serves on two budgets, one for each direction. `benches/bandwidth_lab.py` puts it on a shaped
//! link and tells it what to do.
//!
//! `bandwidth_node FOLDER ORIGIN VKEY TICKET LISTEN DOWN UP`: the rates are schedules. It takes words from standard input, a line each, and
//! answers with an object a line:
//!
//! - `share`: fetches `lab/shared` as a member of the swarm; then gives it to members, and serves it by HTTP
//! - `prefetch`: begins to fetch `lab/prefetch` before anybody asks for it
//! - `interactive`: fetches `lab/one` and `lab/two` at once, and says how many seconds each took

use std::{
    error::Error,
    io::BufRead as _,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use weighbridge_bandwidth::{Budget, Class, Peer, Schedule, Share, WeekTime};
use weighbridge_manifest::{Expectation, ModelName, TrustError, TrustPolicy, VerifiedHead, Vkey};
use weighbridge_serve::{Limits, Models, Rules, Server, Site};
use weighbridge_swarm::{Identity, Swarm, SwarmOptions, Ticket};
use weighbridge_transfer::{
    AnotherModel, Event, Guide, Observer, Options, SourceFactory, SourceOptions, Sources, Stop, Unlisted,
    Wanted, Watchdog, fetch,
};

type Failure = Box<dyn Error + Send + Sync>;

fn main() -> Result<(), Failure> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [folder, origin, vkey, ticket, listen, down, up] = words.as_slice() else {
        return Err("bandwidth_node FOLDER ORIGIN VKEY TICKET LISTEN DOWN UP".into());
    };
    let budget = |text: &str| Ok::<_, Failure>(Budget::new(Schedule::parse(text)?, WeekTime::default));
    let node = Arc::new(Node {
        folder: folder.into(),
        origin: origin.clone(),
        vkey: Vkey::parse(vkey)?,
        down: budget(down)?,
        up: budget(up)?,
    });
    let (ticket, listen) = (Ticket::parse(&std::fs::read(ticket)?)?, listen.parse()?);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    for line in std::io::stdin().lock().lines() {
        match line?.as_str() {
            "share" => runtime.block_on(node.share(ticket.clone(), listen))?,
            "prefetch" => {
                let node = Arc::clone(&node);
                runtime.spawn(async move { node.fetch("prefetch", Class::Prefetch).await });
                println!("{{\"prefetch\":true}}");
            }
            "interactive" => {
                let both = async {
                    tokio::try_join!(node.fetch("one", Class::Awaited), node.fetch("two", Class::Awaited))
                };
                let (one, two) = runtime.block_on(both)?;
                println!("{{\"one\":{},\"two\":{}}}", one.as_secs_f64(), two.as_secs_f64());
            }
            other => return Err(format!("{other} is nothing that this node does").into()),
        }
    }
    Ok(())
}

struct Node {
    folder: PathBuf,
    origin: String,
    vkey: Vkey,
    down: Budget,
    up: Budget,
}

impl Node {
    fn place(&self, name: &str) -> PathBuf {
        self.folder.join("lab").join(name)
    }

    /// Fetches a model anew, and says how long it took.
    async fn fetch(&self, name: &str, class: Class) -> Result<Duration, Failure> {
        let place = self.place(name);
        if place.exists() {
            std::fs::remove_dir_all(&place)?;
        }
        let began = Instant::now();
        let sources = self.sources(name)?;
        let options = self.options(name, &place, sources, self.down.share(class, Peer::unique()), None)?;
        fetch(options, &Quiet, &Stop::default()).await?;
        Ok(began.elapsed())
    }

    fn sources(&self, name: &str) -> Result<Sources, Failure> {
        let source = SourceFactory::new()
            .parse(&format!("{}/lab/{name}", self.origin), &SourceOptions::default())
            .map_err(|error| error.to_string())?;
        Ok(vec![source].into())
    }

    fn options(
        &self,
        name: &str,
        place: &Path,
        sources: Sources,
        receive: Share,
        guide: Option<Arc<dyn Guide>>,
    ) -> Result<Options, Failure> {
        Ok(Options {
            sources,
            metadata: None,
            into: place.to_owned(),
            policy: TrustPolicy::any_of(vec![self.vkey.clone()])?,
            expected: Expectation::any().named(ModelName::parse(&format!("lab/{name}"))?),
            now: None,
            wanted: Wanted::default(),
            unlisted: Unlisted::Report,
            another_model: AnotherModel::Refuse,
            memory: 128 << 20,
            receive,
            watchdog: Watchdog::default(),
            guide,
            nearby: None,
        })
    }

    async fn share(&self, ticket: Ticket, listen: SocketAddr) -> Result<(), Failure> {
        let sources = self.sources("shared")?;
        let options = SwarmOptions {
            ticket,
            identity: Identity::random()?,
            listen: SocketAddr::new(listen.ip(), 0),
            addresses: Vec::new(),
            peers: Vec::new(),
            is_whole: true,
            upload: self.up.clone(),
            share: true,
        };
        let swarm = Swarm::join(options, sources.clone()).await?;
        let place = self.place("shared");
        let receive = self.down.share(Class::Rest, Peer::unique());
        let options = self.options("shared", &place, sources, receive, Some(swarm.guide()))?;
        fetch(options, &Quiet, &Stop::default()).await?;
        tokio::spawn(async move { swarm.linger(Duration::from_secs(3600)).await });
        let models = Arc::new(Models::of(vec![place]));
        models.look();
        let site = Site::new(models, Rules { send: self.up.clone(), ..Rules::default() }, &Limits::default());
        let server = Server::bind(site, listen, Limits::default(), None).await?;
        println!("{{\"shared\":true}}");
        tokio::spawn(server.run(std::future::pending(), |_| {}));
        Ok(())
    }
}

struct Quiet;

impl Observer for Quiet {
    fn accept_head(&self, _: &VerifiedHead, _: &[u8]) -> Result<(), TrustError> {
        Ok(())
    }

    fn event(&self, _: Event) {}
}
