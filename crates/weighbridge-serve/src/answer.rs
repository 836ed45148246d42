//! From a request to its answer: who may ask, what is there, and in which words a refusal is given.

use std::{
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    ops::Range,
    sync::Arc,
    time::Instant,
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header, request::Parts};
use tracing::warn;
use weighbridge_bandwidth::{Class, Peer};

#[cfg(feature = "accept")]
use crate::accept::{Accept, Sender};
use crate::{
    admission::Admission,
    audit,
    body::{Body, Content, Pieces},
    claims::{CLAIM, Claims, Verdict},
    clients::{Client, Clients},
    coming::{NoSupply, Supplier},
    desk::Desk,
    figures::{Figures, Gauges, Record},
    hub,
    models::{Change, Models, Published},
    page,
    proof::{self, Asked},
    range::Part,
    refusal::{Refusal, busy, close_after, failed, no_such_model, not_found, not_supplied, unreadable},
    release::{Item, Release},
    reply::{Answer, PLAIN, Sent, insert, respond, text},
    room::{Limits, Room},
    route::{Route, ServedName},
    rules::Rules,
    seat::Seat,
};

/// Answers requests for models.
///
/// This is the server without its connections: for programs that have a server of their own. [`Server`](crate::Server) has both.
#[derive(Debug)]
pub struct Site {
    models: Arc<Models>,
    rules: Rules,
    /// The claims of members of swarms.
    claims: Option<Arc<Claims>>,
    pub(crate) figures: Arc<Figures>,
    pub(crate) room: Arc<Room>,
    pub(crate) admission: Arc<Admission>,
    pub(crate) desk: Desk,
}

/// The most models that have figures of their own.
const MOST_LABELS: usize = 64;

impl Site {
    /// A site of models, which the caller [looks at](Self::look) from time to time.
    #[must_use]
    pub fn new(models: Arc<Models>, mut rules: Rules, limits: &Limits) -> Arc<Self> {
        let claims = rules.swarms.take().map(Claims::new);
        let (figures, room) = (Arc::new(Figures::new()), Room::new(limits));
        let desk = Desk::new(Arc::clone(&room));
        let admission = Admission::new(rules.send.clone(), limits.answers);
        Arc::new(Self { models, rules, claims, figures, room, admission, desk })
    }

    /// Looks at the models, as [`Models::look`] does, and at the file of the clients, if they come from one. Reads metadata, and
    /// waits for the disk: a program that has a server of its own calls this once a second, on a thread that may wait.
    pub fn look(&self) -> Vec<Change> {
        if let Some(Err(error)) = self.rules.clients.as_ref().map(Clients::look) {
            warn!(target: "weighbridge", "the clients that were known before still are: {error}");
        }
        #[cfg(feature = "accept")]
        if let Some(accept) = &self.rules.accept {
            accept.look(&self.models);
        }
        self.models.look()
    }

    /// Ends the work for models that are brought, and makes durable what has come of them. A program that has a server of its own
    /// calls this at the end, on a thread that may wait.
    pub fn end(&self) {
        #[cfg(feature = "accept")]
        if let Some(accept) = &self.rules.accept {
            accept.end();
        }
    }

    /// The party that gets models which are not here. A program that has a server of its own [ends](Supplier::end) it at the end.
    #[must_use]
    pub fn supplier(&self) -> Option<&Arc<dyn Supplier>> {
        self.rules.supplier.as_ref()
    }

    /// The models.
    #[must_use]
    pub fn models(&self) -> &Arc<Models> {
        &self.models
    }

    /// Answers a request. Of the bodies of requests only that of an audit is read. `from` is the client's address, for the log.
    ///
    /// # Guarantee
    /// That of [`Body`]. Nothing is looked up for a client that may not ask for it, and its answer does not depend on what is there.
    ///
    /// # Non-guarantee
    /// A connection that takes no bytes is left by its server, and by nobody here: it has to have limits of its own.
    ///
    /// # Panics
    /// If it is not awaited in a runtime of tokio: files are read on its threads for blocking work.
    pub async fn answer<B>(self: &Arc<Self>, request: Request<B>, from: Option<SocketAddr>) -> Response<Body>
    where
        B: http_body::Body,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        self.answer_to(request, from, Seat::outside()).await
    }

    pub(crate) async fn answer_to<B>(
        self: &Arc<Self>,
        request: Request<B>,
        from: Option<SocketAddr>,
        seat: Arc<Seat>,
    ) -> Response<Body>
    where
        B: http_body::Body,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let (parts, body) = request.into_parts();
        let mut record = self.record(&parts.method, from, &seat);
        let answer = match self.route(&parts, &mut record) {
            Ok((Route::Audit(name), _)) => self.audit(&name, body, &seat).await,
            #[cfg(feature = "accept")]
            Ok((Route::Push(name, head, route), client)) => match self.sender(client, &name) {
                Ok((accept, sender)) => {
                    self.push(accept, (name, head, route), sender, &parts, body, &seat, &record).await
                }
                Err(refusal) => Err(refusal),
            },
            Ok((route, client)) => self.decide(route, client, &parts, &mut record, &seat).await,
            Err(refusal) => Err(refusal),
        };
        let answer = answer.unwrap_or_else(|refusal| {
            refusal.fault.iter().for_each(|fault| record.refuse(fault));
            refusal.into_answer()
        });
        respond(answer, record, parts.method == Method::HEAD)
    }

    fn record(&self, method: &Method, from: Option<SocketAddr>, seat: &Arc<Seat>) -> Record {
        let peer = from.map_or_else(Peer::unique, |from| Peer::at(from.ip()));
        let share = self.rules.send.share(Class::Awaited, peer);
        let from = from.map(|from| from.to_string()).unwrap_or_default();
        Record::begin(Arc::clone(&self.figures), Arc::clone(seat), method.clone(), from, share)
    }

    /// The answer to a request of a connection for which there is no seat.
    pub(crate) fn turn_away<B>(
        &self,
        request: &Request<B>,
        from: SocketAddr,
        seat: &Arc<Seat>,
    ) -> Response<Body> {
        let mut record = self.record(request.method(), Some(from), seat);
        record.route = "none";
        let answer = busy(self.admission.come_again()).closing().into_answer();
        respond(answer, record, request.method() == Method::HEAD)
    }

    /// Decides who asks, and for what. Nothing is looked up.
    fn route(&self, parts: &Parts, record: &mut Record) -> Result<(Route, Option<Arc<Client>>), Refusal> {
        if parts.headers.contains_key(header::TRANSFER_ENCODING) {
            // Nothing of such a body, nor behind it, comes through.
            let refusal = Refusal::new(StatusCode::LENGTH_REQUIRED, "the request needs a Content-Length");
            return Err(refusal.closing());
        }
        self.may_be_from_here(parts)?;
        let route = Route::of(parts.uri.path());
        record.route = route.as_ref().map_or("other", Route::kind);
        let allowed = route.as_ref().map_or("GET, HEAD", Route::allowed);
        if !allowed.split(", ").any(|method| method == parts.method) {
            let refusal = Refusal::new(StatusCode::METHOD_NOT_ALLOWED, format!("allowed here: {allowed}"));
            return Err(refusal.with(header::ALLOW, allowed).closing());
        }
        let is_open = matches!(route, Some(Route::Health | Route::Ready));
        let client = if is_open {
            None
        } else {
            self.client(parts, route.as_ref()).map_err(|refusal| close_after(refusal, parts))?
        };
        if let Some(client) = &client {
            record.client = Some(Arc::clone(client.name()));
            record.share = self.rules.send.share(Class::Awaited, Peer::named(Arc::clone(client.name())));
        }
        let route = route.ok_or_else(not_found)?;
        if self.rules.fetches_are_peers && !route.is_of_hub() {
            record.share = record.share.in_class(Class::Peers);
        }
        if route.is_of_hub() && !self.rules.hub {
            return Err(Refusal::new(
                StatusCode::FORBIDDEN,
                "the clients of a hub do not verify what they get: this server answers them over TLS or on loopback only, \
                 unless it runs with --insecure-http",
            ));
        }
        record.model = route.model().cloned();
        Ok((route, client))
    }

    async fn decide(
        self: &Arc<Self>,
        route: Route,
        client: Option<Arc<Client>>,
        parts: &Parts,
        record: &mut Record,
        seat: &Arc<Seat>,
    ) -> Result<Answer, Refusal> {
        match route {
            Route::Page => {
                let models = self.models.all();
                self.desk.write(PAGE, seat, move || Ok(page::of(&models, client.as_deref()))).await
            }
            Route::Metrics => {
                let mut figures = self.figures.text(&self.gauges());
                figures.extend(self.rules.more_figures.iter().map(|more| more.text()));
                Ok(text("text/plain; version=0.0.4; charset=utf-8", figures))
            }
            Route::Health => Ok(text(PLAIN, "ok\n".to_owned())),
            Route::Ready if self.models.all().is_empty() && !self.rules.takes_models() => {
                Err(Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "no model is served yet"))
            }
            Route::Ready => Ok(text(PLAIN, "ok\n".to_owned())),
            Route::File(name, path) => {
                let release = self.release(&name, None).await?;
                let item =
                    release.at(&path).filter(|item| matches!(item, Item::File(_))).ok_or_else(not_found)?;
                self.item(release, item, parts, record, seat, HeaderMap::new()).await
            }
            Route::Metadata(name, file) => {
                let release = self.release(&name, None).await?;
                let item = Item::Metadata(file);
                if !release.has(item) {
                    return Err(not_found());
                }
                self.item(release, item, parts, record, seat, HeaderMap::new()).await
            }
            Route::Proof(name) => {
                let release = self.release(&name, None).await?;
                let asked = Asked::of(parts.uri.query())?;
                self.desk.write(proof::MEMORY, seat, move || asked.prove(&release)).await
            }
            Route::Slice(name) => {
                let release = self.release(&name, None).await?;
                let (asked, models) = (Asked::of(parts.uri.query())?, Arc::clone(&self.models));
                record.is_of_model();
                let memory = asked.memory(&release)?;
                self.admit(record, seat, memory).await?;
                self.desk.write(memory, seat, move || asked.slice(&models, &release)).await
            }
            Route::Ticket(name) => {
                // Only a client that is known to have the right to read the model gets so far, if there is one.
                let tickets = client.as_ref().and(self.rules.tickets.as_ref()).ok_or_else(not_found)?;
                let published = self.models.find(&name).ok_or_else(not_found)?;
                let ticket = tickets.find(name.name(), published.current.id).ok_or_else(not_found)?;
                Ok(text(PLAIN, ticket))
            }
            // They need the body of the request.
            Route::Audit(_) => Err(failed()),
            Route::Push(..) => Err(not_found()),
            Route::Info(name, revision) => {
                let release = self.release(&name, revision.as_deref()).await?;
                let query = parts.uri.query().map(str::to_owned);
                let write = move |release: &Release| hub::info(release, query.as_deref());
                self.desk.write(hub::memory(&release), seat, move || write(&release)).await
            }
            Route::Tree(name, revision, folder) => {
                let release = self.release(&name, Some(&revision)).await?;
                let query = parts.uri.query().map(str::to_owned);
                let write = move |release: &Release| hub::tree(release, &folder, query.as_deref());
                self.desk.write(hub::memory(&release), seat, move || write(&release)).await
            }
            Route::Resolve(name, revision, path) => {
                let release = self.release(&name, Some(&revision)).await?;
                let headers = hub::headers(&release);
                let item = release.at(&path).ok_or_else(|| hub::no_entry(&release, &path))?;
                self.item(release, item, parts, record, seat, headers).await
            }
        }
    }

    /// Answers an auditor. A model is looked up for those alone that the server was told of.
    async fn audit<B>(
        self: &Arc<Self>,
        name: &ServedName,
        body: B,
        seat: &Arc<Seat>,
    ) -> Result<Answer, Refusal>
    where
        B: http_body::Body,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let audits = self.rules.audits.as_ref().ok_or_else(not_found)?;
        let awaited = seat.await_client();
        let note = audit::note(body).await?;
        drop(awaited);
        let asked = audits.read(&note)?;
        // An earlier release is answered for as long as it is served.
        let release = match self.release(name, Some(&asked.head().to_string())).await {
            Ok(release) => release,
            Err(_) => self.release(name, None).await?,
        };
        audits.respond(asked, Arc::clone(&self.models), release, &self.desk, seat).await
    }

    /// Refuses what a browser would ask here for a page of somebody else.
    fn may_be_from_here(&self, parts: &Parts) -> Result<(), Refusal> {
        let bad = |message| Err(Refusal::new(StatusCode::BAD_REQUEST, message).closing());
        let mut named = parts.headers.get_all(header::HOST).iter();
        let (Some(host), None) = (named.next(), named.next()) else {
            return bad("the request needs one Host header");
        };
        // The target goes before the header (RFC 9112, section 3.2.2).
        let host = match (parts.uri.authority(), host.to_str()) {
            (Some(authority), _) => authority.as_str(),
            (None, Ok(host)) => host,
            (None, Err(_)) => return bad("the Host header is malformed"),
        };
        if !self.is_known(host) {
            let shown: String = host.chars().filter(|c| c.is_ascii_graphic()).take(100).collect();
            let message = format!(
                "this server is not known as {shown}; if it is to be reached under that name, start it with --host NAME"
            );
            return Err(Refusal::new(StatusCode::MISDIRECTED_REQUEST, message));
        }
        let origins = parts.headers.get_all(header::ORIGIN);
        let is_of_host = |origin: &HeaderValue| {
            let origin = origin.to_str().ok().and_then(|origin| origin.split_once("://"));
            origin.is_some_and(|(_, origin)| origin.eq_ignore_ascii_case(host))
        };
        if !origins.iter().all(is_of_host) {
            return Err(Refusal::new(StatusCode::FORBIDDEN, "pages of other origins may not ask here"));
        }
        Ok(())
    }

    /// Whether the server may be called by this host and port.
    fn is_known(&self, host: &str) -> bool {
        let is_port = |port: &str| port.bytes().all(|byte| byte.is_ascii_digit());
        if let Some((address, port)) = host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            let is_address = address.parse::<Ipv6Addr>().is_ok();
            return is_address && (port.is_empty() || port.strip_prefix(':').is_some_and(is_port));
        }
        let name = match host.split_once(':') {
            None => host,
            Some((name, port)) if is_port(port) => name,
            Some(_) => return false,
        };
        let name = name.strip_suffix('.').unwrap_or(name);
        name.parse::<Ipv4Addr>().is_ok()
            || name.eq_ignore_ascii_case("localhost")
            || self.rules.hosts.iter().any(|known| known.eq_ignore_ascii_case(name))
    }

    /// The client that asks, if the server knows its clients. Nothing is looked up here but the client.
    fn client(&self, parts: &Parts, route: Option<&Route>) -> Result<Option<Arc<Client>>, Refusal> {
        let Some(clients) = &self.rules.clients else { return Ok(None) };
        let token = parts.headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let token = token.and_then(|value| value.split_once(' '));
        let token = token.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
        let client = token.and_then(|(_, token)| clients.by_token(token.trim()));
        let client = client.ok_or_else(|| {
            let refusal = Refusal::new(StatusCode::UNAUTHORIZED, "a token is needed that this server knows");
            refusal.with(header::WWW_AUTHENTICATE, "Bearer")
        })?;
        let may = match route {
            Some(Route::Push(name, ..)) => client.may_push(name.name()).is_some(),
            route => route.and_then(Route::model).is_none_or(|model| client.may_read(model.name())),
        };
        match may {
            true => Ok(Some(client)),
            false => {
                let message = match route {
                    Some(Route::Push(..)) => "this token is not for pushing models of this name",
                    _ => "this token is not for models of this name",
                };
                Err(Refusal::new(StatusCode::FORBIDDEN, message))
            }
        }
    }

    /// The client as a sender of a model.
    #[cfg(feature = "accept")]
    fn sender(
        &self,
        client: Option<Arc<Client>>,
        name: &ServedName,
    ) -> Result<(&Arc<Accept>, Sender), Refusal> {
        let accept = self.rules.accept.as_ref().ok_or_else(|| not_found().closing())?;
        Ok((accept, Sender::of(client, name).ok_or_else(failed)?))
    }

    /// The release that a request means. If no model of the name is published, whoever may have it is asked for it.
    async fn release(&self, name: &ServedName, revision: Option<&str>) -> Result<Arc<Release>, Refusal> {
        let mut published = self.models.find(name);
        if let Some(supplier) = &self.rules.supplier {
            if published.is_none() {
                supplier.supply(name.name()).await.map_err(not_supplied)?;
                published = self.models.find(name);
                if published.is_none() {
                    let message = "it has just gone from the cache".to_owned();
                    return Err(not_supplied(NoSupply::NotNow { retry_after: 1, message }));
                }
            }
            supplier.asked(name.name());
        }
        let published = published.ok_or_else(no_such_model)?;
        self.models.release(&published, revision).ok_or_else(|| {
            Refusal::new(StatusCode::NOT_FOUND, "the model has no such revision here")
                .hub_code("RevisionNotFound")
        })
    }

    /// The bytes of files that were given, by model: of the first ones by name, and of all others together.
    fn given(&self) -> Vec<(String, u64, u64)> {
        let mut models = self.models.all().into_iter();
        let of = |published: Arc<Published>| {
            let (first, again) = published.current.given();
            (published.current.name.as_str().to_owned(), first, again)
        };
        let mut given: Vec<_> = models.by_ref().take(MOST_LABELS).map(of).collect();
        let others = models.map(of).reduce(|(_, first, again), (_, more, more_again)| {
            ("others".to_owned(), first.saturating_add(more), again.saturating_add(more_again))
        });
        given.extend(others.map(|(_, first, again)| ("others".to_owned(), first, again)));
        given
    }

    fn gauges(&self) -> Gauges {
        Gauges {
            models: self.models.all().len(),
            connections: self.room.connections(),
            lookups: self.models.lookups(),
            #[cfg(feature = "accept")]
            uploads: self.rules.accept.as_ref().map_or(0, |accept| accept.count()),
            #[cfg(not(feature = "accept"))]
            uploads: 0,
            given: self.given(),
            claims: self.claims.as_ref().map(|claims| claims.figures()),
        }
    }

    /// A file, or metadata, or the part that is asked for.
    async fn item(
        self: &Arc<Self>,
        release: Arc<Release>,
        item: Item,
        parts: &Parts,
        record: &mut Record,
        seat: &Arc<Seat>,
        mut headers: HeaderMap,
    ) -> Result<Answer, Refusal> {
        let size = release.size(item);
        let tag = format!("\"{}\"", release.tag(item));
        headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        insert(&mut headers, header::ETAG, &tag);
        let is_head = parts.method == Method::HEAD;
        let part =
            if is_head { Part::by_tag(&parts.headers, &tag) } else { Part::of(&parts.headers, size, &tag) };
        let refused = |status, message: &str, mut headers: HeaderMap| {
            headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
            Refusal { headers: Box::new(headers), ..Refusal::new(status, message) }
        };
        let (status, range) = match part {
            Part::Whole => (StatusCode::OK, 0..size),
            Part::Bytes(range) => {
                let last = range.end.saturating_sub(1);
                insert(&mut headers, header::CONTENT_RANGE, &format!("bytes {}-{last}/{size}", range.start));
                (StatusCode::PARTIAL_CONTENT, range)
            }
            Part::Known => {
                let content = Sent::Whole(Bytes::new());
                return Ok(Answer { status: StatusCode::NOT_MODIFIED, headers, content });
            }
            Part::Other => {
                let message = "the file that is served now is another one";
                return Err(refused(StatusCode::PRECONDITION_FAILED, message, headers));
            }
            Part::Beyond => {
                insert(&mut headers, header::CONTENT_RANGE, &format!("bytes */{size}"));
                let message = "the file ends before these bytes";
                return Err(refused(StatusCode::RANGE_NOT_SATISFIABLE, message, headers));
            }
        };
        let claimed = match (&self.claims, item) {
            (Some(claims), Item::File(position)) if !is_head => {
                let about = (&release.name, release.id);
                claims.decide(&parts.headers, about, position, &range, Instant::now())
            }
            _ => Verdict::Unclaimed,
        };
        let claimed = match claimed {
            Verdict::Unclaimed => None,
            Verdict::Given(claimed) => Some(claimed),
            Verdict::HeldBack(time) => {
                let milliseconds = time.as_millis().max(1).to_string();
                let message = "another member of the swarm is given these bytes now";
                return Err(Refusal::new(StatusCode::CONFLICT, message).with(CLAIM, &milliseconds));
            }
        };
        record.is_of_model();
        let mut about = headers.clone();
        about.remove(header::CONTENT_RANGE);
        about.remove(header::ETAG);
        about.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        // A page in a model is none of this server.
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
        let content = if is_head {
            Sent::Length(size)
        } else {
            let content = async {
                self.admit(record, seat, range.end.saturating_sub(range.start)).await?;
                self.content(&release, item, range, seat).await
            };
            content.await.map_err(|refusal| refusal.about(about))?
        };
        record.claimed = claimed;
        Ok(Answer { status, headers, content })
    }

    /// Waits until an answer of this many bytes may be sent.
    async fn admit(&self, record: &mut Record, seat: &Arc<Seat>, bytes: u64) -> Result<(), Refusal> {
        record.admitted = self.admission.admit(record.share.peer(), seat, bytes).await.map_err(busy)?;
        Ok(())
    }

    async fn content(
        self: &Arc<Self>,
        release: &Arc<Release>,
        item: Item,
        range: Range<u64>,
        seat: &Arc<Seat>,
    ) -> Result<Sent, Refusal> {
        if range.is_empty() {
            return Ok(Sent::Whole(Bytes::new()));
        }
        let Some(content) = Content::of(Arc::clone(&self.models), Arc::clone(release), item, &range) else {
            let Item::Metadata(file) = item else { return Err(failed()) };
            let release = Arc::clone(release);
            let text = self.desk.work(move || release.text(file)).await?.ok_or_else(failed)?;
            let at = |place: u64| usize::try_from(place).unwrap_or(usize::MAX).min(text.len());
            return Ok(Sent::Whole(text.slice(at(range.start)..at(range.end))));
        };
        let mut pieces = Pieces::new(content, range, Arc::clone(&self.room), Arc::clone(seat));
        match pieces.next().await {
            Some(Ok(first)) => Ok(Sent::Pieces(pieces, first)),
            Some(Err(fault)) => Err(unreadable(fault)),
            None => Err(failed()),
        }
    }
}

/// The memory for the page: a server of very many models has to do with less.
const PAGE: u64 = 1 << 20;
