//! A web server of a folder that is correct until a test demands a fault, and that records its requests.

use std::{
    collections::HashMap,
    net::{SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use super::{
    answer::{Reply, header},
    content::Content,
    fault::{End, Fault, Rule},
    link::{Flow, Link},
    port::{Loopback, Port},
    rate::Rate,
    request::{HOP, Head, Request, Route, SIGNED, decoded},
    rules::{Follows, Rules, Strikes, Struck},
};

/// HTTP/1.1 with ranges and persistent connections, with one thread for each connection; no validators, no folder
/// lists, no TLS. The server ends on drop.
pub struct Faulty {
    port: Port,
    state: Arc<ServerState>,
    accepting: Option<JoinHandle<()>>,
}

/// The state that the threads of a server share.
pub(super) struct ServerState {
    address: SocketAddr,
    folder: Mutex<PathBuf>,
    /// What it serves in place of a folder.
    site: Option<Box<dyn Site>>,
    rules: Rules,
    pub(super) rate: Rate,
    accept_delay: Mutex<Duration>,
    /// Counts the calls of `unplug`. Connections of an earlier epoch are cut.
    epoch: AtomicU64,
    connections: AtomicUsize,
    /// The number of connections that have not ended yet.
    open: AtomicUsize,
    log: Mutex<Log>,
    /// For each token: its path, and the number of further requests that it permits.
    signed: Mutex<HashMap<String, (String, u64)>>,
}

/// What a server has that does not serve a folder.
pub(super) trait Site: Send + Sync {
    /// The answer to a request, and the path of it that rules match.
    fn at(&self, head: &Head) -> (String, Located);
}

/// What lies at a target.
pub(super) enum Located {
    /// A file, and headers beside those that files have.
    File(Content, Vec<(String, String)>),
    /// Something else.
    Reply(Reply),
}

#[derive(Default)]
struct Log {
    requests: Vec<Request>,
    now: usize,
    most: usize,
}

impl Faulty {
    /// Serves a folder on 127.0.0.1.
    pub fn start(folder: &Path) -> Self {
        Self::start_on(Loopback::V4, folder)
    }

    pub fn start_on(loopback: Loopback, folder: &Path) -> Self {
        Self::of(loopback, folder, None)
    }

    /// Serves a site on 127.0.0.1.
    pub(super) fn start_site(site: impl Site + 'static) -> Self {
        Self::of(Loopback::V4, Path::new("/"), Some(Box::new(site)))
    }

    fn of(loopback: Loopback, folder: &Path, site: Option<Box<dyn Site>>) -> Self {
        let port = Port::any(loopback).unwrap();
        let state = ServerState {
            address: port.address,
            folder: Mutex::new(folder.to_owned()),
            site,
            rules: Rules::default(),
            rate: Rate::unlimited(),
            accept_delay: Mutex::default(),
            epoch: AtomicU64::new(0),
            connections: AtomicUsize::new(0),
            open: AtomicUsize::new(0),
            log: Mutex::default(),
            signed: Mutex::default(),
        };
        let mut server = Self { port, state: Arc::new(state), accepting: None };
        server.plug_in();
        server
    }

    /// The URL of the folder, without a slash at the end.
    pub fn url(&self) -> String {
        format!("http://{}", self.state.address)
    }

    pub fn address(&self) -> SocketAddr {
        self.state.address
    }

    /// Adds a rule, which holds from the next request on.
    pub fn fail(&self, rule: impl Into<Rule>) -> Strikes {
        self.state.rules.add(rule.into())
    }

    /// Removes all rules. Answers that have begun are not affected.
    pub fn mend(&self) {
        self.state.rules.clear();
    }

    /// Serves another folder from the next request on.
    pub fn serve_from(&self, folder: &Path) {
        folder.clone_into(&mut self.state.folder.lock().unwrap());
    }

    /// Limits the rate of all connections together, in bytes a second, from now on; 0 stops them.
    pub fn limit_rate(&self, rate: impl Into<Option<u64>>) {
        self.state.rate.set(rate.into());
    }

    /// Delays accepting each connection. The operating system completes the connection before that.
    pub fn accept_slowly(&self, delay: Duration) {
        *self.state.accept_delay.lock().unwrap() = delay;
    }

    /// Resets all connections and refuses new ones.
    pub fn unplug(&mut self) {
        let Some(accepting) = self.accepting.take() else { return };
        self.state.epoch.fetch_add(1, Ordering::SeqCst);
        // Wakes the thread if it waits for a connection. It may have ended already.
        let _ = TcpStream::connect(self.state.address);
        accepting.join().unwrap();
    }

    /// Accepts connections again, on the same port.
    pub fn plug_in(&mut self) {
        if self.accepting.is_none() {
            let (listener, state) = (self.port.listen(), Arc::clone(&self.state));
            let epoch = state.epoch();
            self.accepting = Some(thread::spawn(move || accept(&listener, &state, epoch)));
        }
    }

    /// The requests so far, in the order of their arrival.
    pub fn requests(&self) -> Vec<Request> {
        self.state.log.lock().unwrap().requests.clone()
    }

    /// Like [`requests`](Self::requests), once all answers have ended, so that the sent bytes are known.
    pub fn settled(&self) -> Vec<Request> {
        let start = Instant::now();
        while self.state.log.lock().unwrap().now > 0 {
            assert!(start.elapsed() < Duration::from_secs(30), "an answer does not end");
            thread::sleep(Duration::from_millis(1));
        }
        self.requests()
    }

    /// The highest number of requests that were answered at once.
    pub fn max_concurrent(&self) -> usize {
        self.state.log.lock().unwrap().most
    }

    /// The number of accepted connections.
    pub fn connections(&self) -> usize {
        self.state.connections.load(Ordering::SeqCst)
    }

    /// The number of connections that the other side has not closed yet.
    pub fn open_connections(&self) -> usize {
        self.state.open.load(Ordering::SeqCst)
    }
}

impl Drop for Faulty {
    fn drop(&mut self) {
        self.unplug();
    }
}

fn accept(listener: &TcpListener, state: &Arc<ServerState>, epoch: u64) {
    while let Ok((stream, _)) = listener.accept() {
        let (delay, start) = (*state.accept_delay.lock().unwrap(), Instant::now());
        while state.epoch() == epoch && start.elapsed() < delay {
            thread::sleep(delay.saturating_sub(start.elapsed()).min(Duration::from_millis(10)));
        }
        if state.epoch() != epoch {
            return;
        }
        let number = state.connections.fetch_add(1, Ordering::SeqCst);
        state.open.fetch_add(1, Ordering::SeqCst);
        let state = Arc::clone(state);
        thread::spawn(move || {
            if let Ok(mut link) = Link::new(stream, &state, epoch) {
                let end = loop {
                    if let Err(end) = state.exchange(&mut link, number) {
                        break end;
                    }
                };
                link.end(end);
            }
            state.open.fetch_sub(1, Ordering::SeqCst);
        });
    }
}

/// The answer to a request.
enum Answer {
    Reply(Reply),
    Raw(Vec<u8>),
    None(End),
}

impl ServerState {
    pub(super) fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::SeqCst)
    }

    /// Reads one request, and answers it.
    fn exchange(&self, link: &mut Link<'_>, connection: usize) -> Flow<()> {
        let head = Head::parse(&link.read_head()?).ok_or(End::Close)?;
        let (route, target) = head.route();
        let (path, located) = match &self.site {
            Some(site) => site.at(&head),
            None => {
                let path = decoded(target).ok_or(End::Close)?;
                let missing = || Located::Reply(Reply::status(404, Vec::new()));
                let located = self.open(&path).map_or_else(missing, |file| Located::File(file, Vec::new()));
                (path, located)
            }
        };
        let length = if let Located::File(content, _) = &located { Some(content.length) } else { None };
        let asked = head.asked();
        let range = asked.as_ref().map(|asked| asked.of(length.unwrap_or(u64::MAX)));
        let number = self.begin(Request {
            method: head.method.clone(),
            target: head.target.clone(),
            path: path.clone(),
            range: range.clone(),
            headers: head.headers.clone(),
            connection,
            at: Instant::now(),
            status: None,
            sent: 0,
            ended: None,
        });

        link.sent = 0;
        let bytes = range.unwrap_or(0..length.unwrap_or(0));
        let answer = match (self.redirect(route, target, &path), located) {
            (Some(reply), _) => Answer::Reply(reply),
            (None, _) if head.method != "GET" && head.method != "HEAD" => {
                Answer::Reply(Reply::status(405, Vec::new()))
            }
            (None, located) => {
                let follows = if route == Route::Plain { Follows::Nothing } else { Follows::Redirect };
                let mut struck = self.rules.strike(&path, &bytes, follows);
                match struck.pop_if(|struck| struck.fault.is_another_answer()) {
                    Some(Struck { fault, .. }) => self.other_answer(fault, &head, target, &path),
                    None => Answer::Reply(match located {
                        Located::File(content, headers) => {
                            Reply::file(content, asked.as_ref(), &path, struck).with(headers)
                        }
                        Located::Reply(reply) => reply,
                    }),
                }
            }
        };
        let status = if let Answer::Reply(reply) = &answer { Some(reply.status) } else { None };
        self.log.lock().unwrap().requests[number].status = status;
        let mut flow = match answer {
            Answer::Reply(reply) => reply.write(link, head.method != "HEAD"),
            Answer::Raw(bytes) => link.write_body(&bytes).and(Err(End::Close)),
            Answer::None(end) => Err(end),
        };
        if flow == Err(End::Stall) {
            self.log.lock().unwrap().requests[number].sent = link.sent;
            flow = Err(link.stall());
        }
        self.end(number, link.sent);
        match head.header("connection") {
            Some(value) if value.eq_ignore_ascii_case("close") => flow.and(Err(End::Close)),
            _ => flow,
        }
    }

    fn open(&self, path: &str) -> Option<Content> {
        let folder = self.folder.lock().unwrap().clone();
        let leads_out = path.starts_with('/') || path.split('/').any(|name| name == "..");
        if leads_out { None } else { Content::open(&folder.join(path)) }
    }

    /// The answer to a URL of a redirect; `None` if the URL gives the file.
    fn redirect(&self, route: Route<'_>, target: &str, path: &str) -> Option<Reply> {
        match route {
            Route::Plain | Route::Hop(0) => None,
            Route::Hop(left) => Some(found(&format!("{HOP}{}/{target}", left - 1))),
            Route::Signed(token) => {
                let mut signed = self.signed.lock().unwrap();
                match signed.get_mut(token) {
                    Some((of, left)) if of == path && *left > 0 => {
                        *left -= 1;
                        None
                    }
                    _ => Some(Reply::status(403, Vec::new())),
                }
            }
        }
    }

    fn other_answer(&self, fault: Fault, head: &Head, target: &str, path: &str) -> Answer {
        Answer::Reply(match fault {
            Fault::Status(status, headers) => Reply::status(status, headers),
            Fault::Redirect(to) => found(&to.replace("{path}", target)),
            Fault::RedirectLoop => found(&head.target),
            Fault::RedirectChain(count) => found(&format!("{HOP}{}/{target}", count.saturating_sub(1))),
            Fault::Signed(uses) => {
                let mut signed = self.signed.lock().unwrap();
                let token = format!("t{}", signed.len());
                let location = format!("http://{}{SIGNED}{token}/{target}", self.address);
                signed.insert(token, (path.to_owned(), uses));
                found(&location)
            }
            Fault::Raw(bytes) => return Answer::Raw(bytes),
            Fault::Unanswered(end) => return Answer::None(end),
            _ => unreachable!("gives the file"),
        })
    }

    fn begin(&self, request: Request) -> usize {
        let mut log = self.log.lock().unwrap();
        log.requests.push(request);
        log.now += 1;
        log.most = log.most.max(log.now);
        log.requests.len() - 1
    }

    fn end(&self, number: usize, sent: u64) {
        let mut log = self.log.lock().unwrap();
        log.now -= 1;
        let request = &mut log.requests[number];
        (request.sent, request.ended) = (sent, Some(Instant::now()));
    }
}

fn found(location: &str) -> Reply {
    Reply::status(302, vec![header("Location", location)])
}
