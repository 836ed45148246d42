//! What is known of each source: what it does, what it is blamed for, when it is tried again.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use weighbridge_tree::HeadId;

use crate::{
    event::{Blame, SourceIndex, SourceState, SourceStatus},
    options::Watchdog,
    source::Fault,
};

mod climb;
mod patience;

use climb::{Climb, Meter};

/// All sources. Every decision to ask one, to wait for one, or to ask one no more, is made here.
#[derive(Debug)]
pub(crate) struct Roster {
    members: Vec<Member>,
    watchdog: Watchdog,
    /// Of the random numbers that keep many nodes from asking again at the same moment.
    random: u64,
}

#[derive(Debug)]
struct Member {
    state: MemberState,
    blame: Option<(Blame, String)>,
    /// In a row, without a verified byte between them.
    failures: u32,
    /// Since the last verified byte that came in time.
    stalls: u32,
    verified: u64,
    /// It has answered at all.
    heard: bool,
    meter: Meter,
    /// What it gives while it is asked.
    window: Option<Window>,
    running: usize,
    /// Connections that wait for it now.
    asked: usize,
    /// Bytes that it had to give before those that were wanted, since it knows no ranges.
    passed: u64,
    /// How often it was suspected.
    cases: u64,
    /// When it is asked again, while it is suspected.
    not_before: Option<Instant>,
    /// Connections that wait until what has come is paid for (`--limit-rate`).
    paying: usize,
    /// Pieces that have come, and wait for this machine.
    landing: usize,
    /// How many requests have ended, whatever became of them.
    answered: u64,
    climb: Climb,
    /// Files that it says it does not have, or denies.
    lacks: BTreeSet<usize>,
    /// How many files it has denied.
    denials: u32,
    /// Of a stale source: the files that are the same in its revision.
    same: Option<BTreeSet<usize>>,
    /// The head that it has instead.
    moved: Option<Moved>,
    /// All that it had instead.
    revisions: Vec<HeadId>,
    ranges: bool,
    /// It kept somebody waiting for metadata, and has given none since.
    slow: bool,
    /// Raised whenever what it is doing has to end.
    generation: u64,
    told: Option<SourceStatus>,
}

/// A time of being asked, and what came of it.
#[derive(Clone, Copy, Debug)]
struct Window {
    /// For how long, pauses not counted.
    asked: Duration,
    /// What it had given before.
    before: u64,
    last: Instant,
}

/// Another head than the wanted one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moved {
    pub(crate) head: HeadId,
    /// Whether its revision is no earlier one: that somebody has published it since.
    pub(crate) is_later: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum MemberState {
    Usable,
    Waiting {
        until: Instant,
    },
    /// It gave something that does not match; its head is being read again (rule 11).
    Suspect,
    SetAside,
}

/// After so many failures in a row a source is not tried again.
const MAX_FAILURES: u32 = 8;
/// The wait after the first of them; it doubles with each.
const FIRST_WAIT: Duration = Duration::from_millis(500);
/// After so many stalls without enough verified bytes between them a source is not tried again.
const MAX_STALLS: u32 = 3;
/// So many files are asked of who denies each.
const MAX_DENIED: u32 = 3;
/// Who asks to be left alone for longer is not waited for.
pub(crate) const MAX_WAIT: Duration = Duration::from_secs(300);

impl Roster {
    pub(crate) fn new(count: usize, watchdog: Watchdog, seed: u64) -> Self {
        let members = std::iter::repeat_with(Member::new).take(count).collect();
        Self { members, watchdog, random: seed | 1 }
    }

    /// Whether the source may be asked for something now.
    pub(crate) fn is_usable(&self, source: SourceIndex) -> bool {
        self.members[source].state == MemberState::Usable
    }

    /// Whether the source may be asked for a file, now or later.
    pub(crate) fn may_serve(&self, source: SourceIndex, file: usize) -> bool {
        let member = &self.members[source];
        member.state != MemberState::SetAside
            && !member.lacks.contains(&file)
            && member.same.as_ref().is_none_or(|same| same.contains(&file))
    }

    pub(crate) fn knows_ranges(&self, source: SourceIndex) -> bool {
        self.members[source].ranges
    }

    pub(crate) fn lacks_ranges(&mut self, source: SourceIndex) {
        self.members[source].ranges = false;
    }

    /// Whether it is asked for metadata after all others.
    pub(crate) fn is_slow(&self, source: SourceIndex) -> bool {
        self.members[source].slow
    }

    pub(crate) fn set_slow(&mut self, source: SourceIndex, slow: bool) {
        self.members[source].slow = slow;
    }

    /// Changes whenever what the source is doing has to end.
    pub(crate) fn generation(&self, source: SourceIndex) -> u64 {
        self.members[source].generation
    }

    /// Verified bytes per second, of the last seconds.
    pub(crate) fn rate(&self, source: SourceIndex) -> u64 {
        self.members[source].meter.rate
    }

    /// How many connections the source is to have.
    pub(crate) fn connections(&self, source: SourceIndex) -> usize {
        let member = &self.members[source];
        if member.state == MemberState::Usable { member.climb.target } else { 0 }
    }

    /// Whether it has more, and one that ends a request is to end itself.
    pub(crate) fn is_crowded(&self, source: SourceIndex) -> bool {
        self.members[source].running > self.connections(source)
    }

    pub(crate) fn begins(&mut self, source: SourceIndex) {
        self.members[source].running += 1;
    }

    pub(crate) fn ends(&mut self, source: SourceIndex) {
        let member = &mut self.members[source];
        member.running = member.running.saturating_sub(1);
    }

    /// A connection waits for what the source gives.
    pub(crate) fn ask_begins(&mut self, source: SourceIndex) {
        self.members[source].asked += 1;
    }

    pub(crate) fn ask_ends(&mut self, source: SourceIndex) {
        let member = &mut self.members[source];
        member.asked = member.asked.saturating_sub(1);
        member.answered += 1;
    }

    /// Bytes came that nobody wanted of a source that cannot begin elsewhere.
    pub(crate) fn passed(&mut self, source: SourceIndex, bytes: u64) {
        let member = &mut self.members[source];
        if !member.ranges {
            member.passed += bytes;
        }
    }

    /// A connection waits until what it was given is paid for, or waits no more: its source is not asked meanwhile.
    pub(crate) fn pays(&mut self, source: SourceIndex, begins: bool) {
        let paying = &mut self.members[source].paying;
        *paying = if begins { *paying + 1 } else { paying.saturating_sub(1) };
    }

    /// Verified bytes of it so far.
    pub(crate) fn verified(&self, source: SourceIndex) -> u64 {
        self.members[source].verified
    }

    /// How often it was suspected: what it was asked for before says nothing new afterwards.
    pub(crate) fn cases(&self, source: SourceIndex) -> u64 {
        self.members[source].cases
    }

    /// A piece has come from the source; what happens to it now is not its doing.
    pub(crate) fn came(&mut self, source: SourceIndex) {
        self.members[source].landing += 1;
    }

    /// A piece was judged, and so many bytes of it are verified and were not before.
    pub(crate) fn landed(&mut self, source: SourceIndex, verified: u64) {
        let member = &mut self.members[source];
        member.landing = member.landing.saturating_sub(1);
        if verified > 0 {
            member.verified += verified;
            member.failures = 0;
        }
    }

    /// A request failed before anything was judged. `true`: it may have given another file, and its head is to be read
    /// again before anything is said of it.
    pub(crate) fn failed(
        &mut self,
        source: SourceIndex,
        file: Option<usize>,
        fault: &Fault,
        now: Instant,
    ) -> bool {
        if !matches!(fault, Fault::Unreachable(_)) {
            self.heard(source);
        }
        let member = &mut self.members[source];
        // What it is blamed for already weighs more.
        if matches!(member.state, MemberState::SetAside | MemberState::Suspect) {
            return false;
        }
        match (fault, file) {
            (Fault::Missing | Fault::Refused(_), Some(_)) => self.denied(source, file, fault),
            (Fault::OtherFile(what), _) => return self.suspect(source, what.clone()),
            (Fault::Busy { retry_after: Some(after), .. }, _) if *after > MAX_WAIT => {
                self.set_aside(source, Blame::Refused, fault.to_string());
            }
            // Servers limit how many connections one address has: it goes on with those that it serves.
            (Fault::Busy { retry_after: None, .. }, _) if member.running > usize::from(file.is_some()) => {
                member.climb.falls_back((member.running - 1).max(1), now);
                member.blame = Some((Blame::Refused, fault.to_string()));
            }
            (Fault::Busy { retry_after, .. }, _) => {
                self.retry(source, Blame::Refused, fault.to_string(), *retry_after, now);
            }
            (Fault::Missing | Fault::Refused(_), _) => {
                self.set_aside(source, Blame::Refused, fault.to_string());
            }
            (Fault::Unreachable(_), _) => {
                self.retry(source, Blame::Unreachable, fault.to_string(), None, now);
            }
        }
        false
    }

    /// It has no such file, or denies it: as the stores do of what they do not have, for whoever may not list it. Who has
    /// given nothing, and denies one file after the other, denies all of them.
    pub(crate) fn denied(&mut self, source: SourceIndex, file: Option<usize>, fault: &Fault) {
        let member = &mut self.members[source];
        if matches!(member.state, MemberState::SetAside | MemberState::Suspect) {
            return;
        }
        // A path that is denied twice, on two connections say, is one.
        let is_new = file.is_some_and(|file| member.lacks.insert(file));
        member.denials += u32::from(is_new && *fault != Fault::Missing);
        let denies_all = member.verified == 0 && member.denials >= MAX_DENIED;
        // That it has another revision says more.
        if member.moved.is_none() {
            member.blame = Some((Blame::Refused, fault.to_string()));
        }
        if denies_all {
            self.set_aside(source, Blame::Refused, fault.to_string());
        }
    }

    /// It gave what does not match. `true` if its head is to be read again; `false` if that is being done already.
    pub(crate) fn suspect(&mut self, source: SourceIndex, what: String) -> bool {
        let member = &mut self.members[source];
        match member.state {
            MemberState::Suspect | MemberState::SetAside => return false,
            MemberState::Waiting { until } => member.not_before = Some(until),
            MemberState::Usable => member.not_before = None,
        }
        member.state = MemberState::Suspect;
        member.cases += 1;
        member.blame = Some((Blame::Lied, what));
        member.generation += 1;
        true
    }

    /// As [`suspect`](Self::suspect), for what it was asked for when it had been suspected so often: what was under way when
    /// it was judged says nothing new.
    pub(crate) fn suspect_since(&mut self, source: SourceIndex, cases: u64, what: String) -> bool {
        self.members[source].cases == cases && self.suspect(source, what)
    }

    /// When the head of a suspected source may be asked for: it may have said that it wants to be left alone.
    pub(crate) fn not_before(&self, source: SourceIndex) -> Option<Instant> {
        self.members[source].not_before
    }

    /// It serves the wanted head, or none that is believed, and gave what does not match it.
    pub(crate) fn lied(&mut self, source: SourceIndex) {
        let what = self.members[source].blame.take().map(|(_, what)| what).unwrap_or_default();
        self.set_aside(source, Blame::Lied, what);
    }

    /// It serves another head that is believed, and these files of it are the same. If it did so before, it has lied: its
    /// own list says which files it has.
    pub(crate) fn stale(
        &mut self,
        source: SourceIndex,
        moved: Moved,
        what: String,
        mut same: BTreeSet<usize>,
    ) {
        let member = &mut self.members[source];
        if member.revisions.contains(&moved.head) {
            return self.lied(source);
        }
        member.revisions.push(moved.head);
        member.moved = Some(moved);
        // What it had not before it does not get by changing again: else it could be asked in circles.
        if let Some(before) = member.same.take() {
            same.retain(|file| before.contains(file));
        }
        if same.is_empty() {
            return self.set_aside(source, Blame::Stale, what);
        }
        member.state = MemberState::Usable;
        member.blame = Some((Blame::Stale, what));
        member.same = Some(same);
    }

    /// Whether it is known to have another revision.
    pub(crate) fn is_stale(&self, source: SourceIndex) -> bool {
        self.members[source].moved.is_some()
    }

    /// Whether a source is being found out: what it is blamed for is not known yet.
    pub(crate) fn is_judging(&self) -> bool {
        self.members.iter().any(|member| member.state == MemberState::Suspect)
    }

    /// It gave what does not match, and nobody finds out why: it did not show its head.
    pub(crate) fn close_case(&mut self, source: SourceIndex, blame: Blame, why: &str) {
        if self.members[source].state == MemberState::Suspect {
            let what = self.members[source].blame.take().map(|(_, what)| what).unwrap_or_default();
            self.set_aside(source, blame, format!("{what}; and it did not show its head: {why}"));
        }
    }

    /// All at once, at the end.
    pub(crate) fn close_cases(&mut self) {
        for source in 0..self.members.len() {
            self.close_case(source, Blame::Stalled, "not before the end");
        }
    }

    /// The later head that all of the first `count` sources have instead that are not set aside for something else.
    pub(crate) fn all_moved_to(&self, count: usize) -> Option<HeadId> {
        let is_left = |member: &&Member| member.state != MemberState::SetAside || member.moved.is_some();
        let mut moved = self.members.iter().take(count).filter(is_left).map(|member| member.moved);
        let first = moved.next()??;
        let is_later = |moved: Option<Moved>| moved.is_some_and(|moved| moved.is_later);
        (is_later(Some(first)) && moved.all(is_later)).then_some(first.head)
    }

    pub(crate) fn set_aside(&mut self, source: SourceIndex, blame: Blame, what: String) {
        let member = &mut self.members[source];
        member.state = MemberState::SetAside;
        member.blame = Some((blame, what));
        member.generation += 1;
    }

    /// It gave too few verified bytes for all of `window`: it is tried again after as long, unless it has been twice.
    pub(crate) fn stalled(&mut self, source: SourceIndex, what: String, window: Duration, now: Instant) {
        let member = &mut self.members[source];
        // Connections that stall together have stalled once.
        if member.state != MemberState::Usable {
            return;
        }
        member.stalls += 1;
        if member.stalls >= MAX_STALLS {
            self.set_aside(source, Blame::Stalled, what);
        } else {
            self.wait(source, Blame::Stalled, what, now + window);
        }
    }

    /// It is tried again later, unless it has failed too often.
    fn retry(
        &mut self,
        source: SourceIndex,
        blame: Blame,
        what: String,
        retry_after: Option<Duration>,
        now: Instant,
    ) {
        let jitter = self.jitter();
        let member = &mut self.members[source];
        // Connections that fail at the same moment are one failure.
        if member.state == MemberState::Usable {
            member.failures += 1;
        }
        if member.failures >= MAX_FAILURES {
            return self.set_aside(source, blame, what);
        }
        let doubled = FIRST_WAIT * 2_u32.pow(member.failures.saturating_sub(1));
        self.wait(source, blame, what, now + retry_after.unwrap_or_default().max(doubled.mul_f64(jitter)));
    }

    fn wait(&mut self, source: SourceIndex, blame: Blame, what: String, until: Instant) {
        let member = &mut self.members[source];
        let until = match member.state {
            MemberState::Waiting { until: earlier } => earlier.max(until),
            _ => until,
        };
        member.state = MemberState::Waiting { until };
        member.blame = Some((blame, what));
        member.generation += 1;
    }

    /// Lets time pass: who waited is tried again, who stalled is left, rates are measured.
    ///
    /// `least` is what the watchdog asks of a source per second, and `chunk` the length of a chunk.
    pub(crate) fn tick(&mut self, now: Instant, least: u64, chunk: u64) {
        for source in 0..self.members.len() {
            let member = &mut self.members[source];
            member.meter.tick(now, member.verified);
            if let MemberState::Waiting { until } = member.state
                && now >= until
            {
                member.state = MemberState::Usable;
                member.window = None;
            }
            member.climb.tick(now, member.meter.rate, member.running, member.answered);
            self.watch(source, now, least, chunk);
        }
        self.give_up_on_the_unheard();
    }

    fn watch(&mut self, source: SourceIndex, now: Instant, least: u64, chunk: u64) {
        let window = self.window(least, chunk);
        let member = &mut self.members[source];
        if member.state != MemberState::Usable {
            member.window = None;
            return;
        }
        let given = member.verified + member.passed;
        let begun = Window { asked: Duration::ZERO, before: given, last: now };
        let seen = member.window.get_or_insert(begun);
        // What has come and waits for a slow disk is not the source's doing.
        if member.landing > 0 {
            *seen = begun;
        }
        // Whoever is helped out each time has pauses, and has given nothing all the same.
        if member.asked > member.paying {
            seen.asked += now.duration_since(seen.last);
        }
        seen.last = now;
        if seen.asked < window {
            return;
        }
        let given = given.saturating_sub(seen.before);
        if given >= due(least, window) {
            *seen = begun;
            member.stalls = 0;
            return;
        }
        member.window = None;
        self.stalled(
            source,
            format!("gave {given} verified bytes in {} s", window.as_secs_f64()),
            window,
            now,
        );
    }

    /// The least window.
    pub(crate) fn least_window(&self) -> Duration {
        self.watchdog.window
    }

    /// The longer of the least window and twice the time of a chunk at the least rate.
    pub(crate) fn window(&self, least: u64, chunk: u64) -> Duration {
        self.watchdog.window.max(Duration::from_secs(2 * chunk / least.max(1)))
    }

    /// What the watchdog asks of each source per second, if all of them together may give no more than `limit`.
    pub(crate) fn least(&self, limit: Option<u64>) -> u64 {
        let sources = u64::try_from(self.members.len()).unwrap_or(u64::MAX).max(1);
        limit.map_or(self.watchdog.rate, |limit| self.watchdog.rate.min(limit / (2 * sources))).max(1)
    }

    /// What has changed since it was asked last: states and blames at once, rates if `rates`.
    pub(crate) fn news(&mut self, now: Instant, rates: bool) -> Vec<SourceStatus> {
        let mut news = Vec::new();
        for source in 0..self.members.len() {
            let status = self.status(source, now);
            let member = &mut self.members[source];
            let as_told = |told: &SourceStatus| {
                told.state == status.state
                    && told.blame == status.blame
                    && !(rates && told.rate != status.rate)
            };
            if !member.told.as_ref().is_some_and(as_told) {
                member.told = Some(status.clone());
                news.push(status);
            }
        }
        news
    }

    /// How every source does.
    pub(crate) fn statuses(&self, now: Instant) -> Vec<SourceStatus> {
        (0..self.members.len()).map(|source| self.status(source, now)).collect()
    }

    fn status(&self, source: SourceIndex, now: Instant) -> SourceStatus {
        let member = &self.members[source];
        let (state, again_in) = match member.state {
            MemberState::Usable if member.running > 0 => (SourceState::Active, None),
            MemberState::Usable => (SourceState::Idle, None),
            MemberState::Waiting { until } => {
                (SourceState::Waiting, Some(until.saturating_duration_since(now)))
            }
            MemberState::Suspect => (SourceState::Waiting, None),
            MemberState::SetAside => (SourceState::SetAside, None),
        };
        // Nobody is blamed while it is being found out for what.
        let blame = if member.state == MemberState::Suspect { None } else { member.blame.clone() };
        SourceStatus { source, state, blame, again_in, verified: member.verified, rate: member.meter.rate }
    }

    /// Between a half and one and a half (xorshift64).
    fn jitter(&mut self) -> f64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        0.5 + f64::from(u32::try_from(self.random >> 32).unwrap_or(0)) / f64::from(u32::MAX)
    }
}

impl Member {
    fn new() -> Self {
        Self {
            state: MemberState::Usable,
            blame: None,
            failures: 0,
            stalls: 0,
            verified: 0,
            heard: false,
            meter: Meter::default(),
            window: None,
            running: 0,
            asked: 0,
            passed: 0,
            cases: 0,
            not_before: None,
            paying: 0,
            landing: 0,
            answered: 0,
            climb: Climb::new(),
            lacks: BTreeSet::new(),
            denials: 0,
            same: None,
            moved: None,
            revisions: Vec::new(),
            ranges: true,
            slow: false,
            generation: 0,
            told: None,
        }
    }
}

/// The bytes of a time at a rate per second.
pub(crate) fn due(rate: u64, time: Duration) -> u64 {
    let bytes = u128::from(rate).saturating_mul(time.as_millis()) / 1000;
    u64::try_from(bytes).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
