//! The library itself: settings, events and refusals that only its callers have.

use std::{
    path::{Path, PathBuf},
    sync::Mutex,
    time::{Duration, Instant},
};

use weighbridge_bandwidth::Share;
use weighbridge_manifest::{Expectation, TrustError, TrustPolicy, VerifiedHead, Vkey};
use weighbridge_transfer::{
    AnotherModel, Blame, Event, FetchError, Fetched, Observer, Options, SourceFactory, SourceId,
    SourceOptions, SourceState, Stop, Unlisted, Wanted, Watchdog, fetch,
};

use super::kit::{SHARDS, fleet};
use crate::fleet::Fleet;
use weighbridge_testkit::servers::{End, Fault, Faulty};

/// Records all events, and asks the fetch to end at the first event for which `stop_at` holds.
#[derive(Default)]
struct Ear {
    heard: Mutex<Vec<Event>>,
    refuses: bool,
    stop: Stop,
    stop_at: Option<fn(&Event) -> bool>,
}

impl Observer for Ear {
    fn accept_head(&self, _head: &VerifiedHead, note: &[u8]) -> Result<(), TrustError> {
        assert!(note.starts_with(b"weighbridge/head/v1\n"));
        if self.refuses { Err(TrustError::OldRevision { found: 1, least: 2 }) } else { Ok(()) }
    }

    fn event(&self, event: Event) {
        if self.stop_at.is_some_and(|is_it| is_it(&event)) {
            self.stop.ask();
        }
        self.heard.lock().unwrap().push(event);
    }
}

impl Ear {
    fn heard<T>(&self, as_wanted: impl Fn(&Event) -> Option<T>) -> Vec<T> {
        self.heard.lock().unwrap().iter().filter_map(as_wanted).collect()
    }

    fn hear(&self, options: Options) -> Result<Fetched, FetchError> {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        runtime.block_on(fetch(options, self, &self.stop))
    }
}

fn options(fleet: &Fleet, servers: &[&Faulty]) -> Options {
    let source =
        |server: &&Faulty| SourceFactory::new().parse(&server.url(), &SourceOptions::default()).unwrap();
    Options {
        sources: servers.iter().map(source).collect::<Vec<_>>().into(),
        metadata: None,
        into: into(fleet),
        policy: TrustPolicy::any_of(vec![Vkey::parse(&fleet.vkey).unwrap()]).unwrap(),
        expected: Expectation::any(),
        now: None,
        wanted: Wanted::default(),
        unlisted: Unlisted::Report,
        another_model: AnotherModel::Refuse,
        memory: 32 << 20,
        receive: Share::unlimited(),
        watchdog: Watchdog { rate: 64 << 10, window: Duration::from_secs(1) },
        guide: None,
        nearby: None,
    }
}

fn into(fleet: &Fleet) -> PathBuf {
    fleet.world.path("out")
}

#[test]
fn a_source_that_stalls_for_the_third_time_ends_the_fetch_that_has_no_other() {
    let fleet = fleet();
    let silent = Faulty::start(&fleet.model);
    drop(silent.fail(Fault::Unanswered(End::Stall).on(SHARDS)));
    let (ear, start) = (Ear::default(), Instant::now());
    let error = ear.hear(options(&fleet, &[&silent])).unwrap_err();
    let FetchError::NoSource { what, sources, progress, .. } = error else { panic!("{error}") };
    assert!(what.ends_with(".safetensors"), "{what}");
    assert_eq!(sources[0].blame.as_ref().map(|(blame, _)| *blame), Some(Blame::Stalled));
    assert!(progress.verified < progress.wanted);
    // Each of three attempts takes a second, with a pause of a second between them.
    assert!((4..15).contains(&start.elapsed().as_secs()), "{:?}", start.elapsed());
    let mut states = ear.heard(|event| match event {
        Event::Source(status) => Some(status.state),
        _ => None,
    });
    states.retain(|state| matches!(state, SourceState::Waiting | SourceState::SetAside));
    states.dedup();
    assert_eq!(states.last(), Some(&SourceState::SetAside));
    let waits = ear.heard(|event| match event {
        Event::Source(status) => Some(status.again_in?),
        _ => None,
    });
    assert!(!waits.is_empty() && waits.iter().all(|wait| *wait <= Duration::from_secs(1)), "{waits:?}");
}

/// Progress before that, such as small files without a layer, does not keep the fetch going.
#[test]
fn layers_that_never_come_end_the_fetch_that_has_no_other_source() {
    let fleet = fleet();
    let silent = Faulty::start(&fleet.model);
    drop(silent.fail(Fault::Unanswered(End::Stall).on("*chunks.layer")));
    let ear = Ear::default();
    let error = ear.hear(options(&fleet, &[&silent])).unwrap_err();
    let FetchError::NoSource { sources, progress, .. } = error else { panic!("{error}") };
    assert_eq!(sources[0].blame.as_ref().map(|(blame, _)| *blame), Some(Blame::Stalled));
    assert!(progress.verified > 0, "the small files have come");
}

#[test]
fn a_source_that_is_slower_than_the_caller_says_is_left_for_another() {
    let fleet = fleet();
    let [slow, fast] = [(); 2].map(|()| Faulty::start(&fleet.model));
    drop(slow.fail(Fault::Dribble(100, Duration::from_millis(20)).on(SHARDS)));
    // The server sends 256 KiB at once: at half the rate nothing may come to be judged within a window of a second.
    fast.limit_rate(1_000_000);
    let ear = Ear::default();
    let fetched = ear.hear(options(&fleet, &[&slow, &fast])).unwrap();
    assert_eq!(fetched.progress.durable, fetched.progress.wanted);
    fleet.assert_same(&into(&fleet), &fleet.model);
    let blamed = ear.heard(|event| match event {
        Event::Source(status) => Some((status.source, status.blame.as_ref()?.0)),
        _ => None,
    });
    assert!(
        !blamed.is_empty() && blamed.iter().all(|blame| *blame == (SourceId::new(0), Blame::Stalled)),
        "{blamed:?}"
    );
}

#[test]
fn a_head_that_the_caller_refuses_ends_the_fetch_before_anything_is_asked_for() {
    let fleet = fleet();
    let server = Faulty::start(&fleet.model);
    let ear = Ear { refuses: true, ..Ear::default() };
    assert!(matches!(ear.hear(options(&fleet, &[&server])), Err(FetchError::Trust(_))));
    assert!(server.requests().iter().all(|request| request.path == "weighbridge/head.note"));
    assert!(ear.heard(|event| matches!(event, Event::Head(_)).then_some(())).is_empty());
    assert!(!into(&fleet).join("config.json").exists());
}

#[test]
fn a_fetch_that_is_asked_to_end_says_how_far_it_was_and_goes_on_from_there() {
    let fleet = fleet();
    let server = Faulty::start(&fleet.model);
    server.limit_rate(1_000_000);
    let stop_at: fn(&Event) -> bool = |event| matches!(event, Event::Durable { .. });
    let ear = Ear { stop_at: Some(stop_at), ..Ear::default() };
    let error = ear.hear(options(&fleet, &[&server])).unwrap_err();
    let FetchError::Stopped { progress } = error else { panic!("{error}") };
    assert!(0 < progress.durable && progress.durable < progress.wanted);
    // The difference is the pieces that were just being written.
    assert!(progress.verified - progress.durable <= 4 << 20);
    let before = server.requests().len();
    server.limit_rate(100_000_000);
    let again = Ear::default();
    let fetched = again.hear(options(&fleet, &[&server])).unwrap();
    fleet.assert_same(&into(&fleet), &fleet.model);
    let there = fetched.progress.wanted - progress.durable;
    assert!(fetched.progress.received <= there, "{:?} after {progress:?}", fetched.progress);
    assert!(server.requests()[before..].iter().all(|request| request.path != "weighbridge/tensors.jsonl"));
    // A fetch that is asked to end before it begins does not begin.
    let ear = Ear::default();
    ear.stop.ask();
    assert!(matches!(ear.hear(options(&fleet, &[&server])), Err(FetchError::Stopped { .. })));
}

/// A fetch may be stopped or dropped at any moment: once its sources have gone too, nothing of it is open.
#[test]
fn a_fetch_that_is_stopped_at_any_moment_leaves_no_task_descriptor_or_connection() {
    let fleet = fleet();
    let servers = [(); 3].map(|()| Faulty::start(&fleet.model));
    let [honest, lying, breaking] = &servers;
    drop(lying.fail(Fault::Flip.on(SHARDS).at(300_000)));
    drop(breaking.fail(Fault::Break(End::Reset).on(SHARDS).at(400_000)));
    servers.iter().for_each(|server| server.limit_rate(12_000_000));
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let mut stopped = 0;
    for moment in 0..100 {
        let _ = std::fs::remove_dir_all(into(&fleet));
        let (ear, pause) = (Ear::default(), Duration::from_micros(moment * 1_000));
        runtime.block_on(async {
            let fetch = fetch(options(&fleet, &[honest, lying, breaking]), &ear, &ear.stop);
            tokio::pin!(fetch);
            if tokio::time::timeout(pause, &mut fetch).await.is_err() {
                stopped += 1;
                if moment % 4 > 0 {
                    let _ = tokio::join!(fetch, ear.stop.stop());
                }
            }
        });
        // A blocking call that was under way when the fetch was dropped may still run for a moment.
        let (until, open) = (Instant::now() + Duration::from_secs(5), || open_below(&into(&fleet)));
        let connections = || servers.iter().map(Faulty::open_connections).sum::<usize>();
        let tasks = || runtime.metrics().num_alive_tasks();
        while tasks() + open() + connections() > 0 {
            let left = (tasks(), open(), connections());
            assert!(
                Instant::now() < until,
                "tasks, descriptors, connections after moment {moment}: {left:?}"
            );
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    assert!(stopped > 50, "{stopped} of 100 were stopped before their end");
}

/// The number of descriptors that this process has of a folder and what is below it.
fn open_below(folder: &Path) -> usize {
    let open = std::fs::read_dir("/proc/self/fd").unwrap().flatten();
    open.filter_map(|entry| std::fs::read_link(entry.path()).ok()).filter(|at| at.starts_with(folder)).count()
}
