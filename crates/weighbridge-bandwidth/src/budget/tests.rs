//! The budget in the virtual time of a paused runtime, and once in real time.

use std::sync::atomic::AtomicU32;

use tokio::time::{sleep, timeout};

use super::*;

const MB: usize = 1_000_000;

fn ms(time: u64) -> Duration {
    Duration::from_millis(time)
}

fn is_empty(budget: &Budget) -> bool {
    let queue = budget.0.queue();
    queue.waiting.is_empty() && queue.driver.is_none() && queue.scheduler.next_turn().is_none()
}

fn driver(budget: &Budget) -> Option<u64> {
    budget.0.queue().driver
}

async fn timed(work: impl Future<Output = ()>) -> Duration {
    let began = Instant::now();
    work.await;
    began.elapsed()
}

#[tokio::test(start_paused = true)]
async fn what_all_pay_together_takes_its_time_and_a_small_one_does_not_wait_for_a_large_one() {
    let budget = Budget::of(1_000_000);
    let [one, other] = [(); 2].map(|()| budget.share(Class::Rest, Peer::unique()));
    let (large, small) = tokio::join!(timed(one.pay(MB)), timed(other.pay(20_000)));
    assert!((ms(980)..ms(1_040)).contains(&large), "{large:?}");
    assert!(small < ms(60), "{small:?}");
    assert!(is_empty(&budget));
}

#[tokio::test(start_paused = true)]
async fn connections_of_one_peer_take_turns() {
    let budget = Budget::of(1_000_000);
    let share = budget.share(Class::Rest, Peer::unique());
    let (large, small) = tokio::join!(timed(share.pay(MB)), timed(share.pay(40_000)));
    assert!(large >= ms(980) && small < ms(120), "{large:?} {small:?}");
}

#[tokio::test(start_paused = true)]
async fn what_is_awaited_takes_as_long_as_alone_beside_all_classes_below() {
    let budget = Budget::of(20_000_000);
    let below = [Class::Rest, Class::Peers, Class::Peers, Class::Prefetch].map(|class| {
        let share = budget.share(class, Peer::unique());
        tokio::spawn(async move {
            loop {
                share.pay(300_000).await;
            }
        })
    });
    sleep(ms(500)).await;
    let awaited = budget.share(Class::Awaited, Peer::unique());
    let both = async {
        tokio::join!(awaited.pay(10 * MB), awaited.pay(10 * MB));
    };
    let took = timed(both).await;
    assert!((ms(980)..ms(1_050)).contains(&took), "{took:?}");
    below.iter().for_each(tokio::task::JoinHandle::abort);
    for task in below {
        let _ = task.await;
    }
    assert!(is_empty(&budget), "{:?}", budget.0.queue());
}

/// The one who looks for turns leaves, and the one who is named next is gone before it is woken.
#[tokio::test(start_paused = true)]
async fn the_next_who_looks_may_be_gone_already() {
    let budget = Budget::of(1_000);
    let share = budget.share(Class::Rest, Peer::unique());
    let mut context = Context::from_waker(Waker::noop());
    let mut turns: Vec<_> = (0..30).map(|_| Box::pin(share.take(20))).collect();
    for turn in &mut turns {
        let _ = turn.as_mut().poll(&mut context);
    }
    let stays = tokio::spawn(timed({
        let share = share.clone();
        async move { share.pay(100).await }
    }));
    sleep(ms(1)).await;
    // Each that goes names the next, which goes before it hears of it.
    let mut gone = 0;
    while let Some(driver) = driver(&budget) {
        let before = turns.len();
        turns.retain(|turn| turn.waits.as_ref().is_some_and(|ticket| ticket.number != driver));
        if turns.len() == before {
            break;
        }
        gone += before - turns.len();
    }
    assert!(gone > 0);
    assert!(timeout(ms(2_000), stays).await.is_ok());
    drop(turns);
    assert!(is_empty(&budget));
}

/// Whoever looks for turns for all others may leave.
#[tokio::test(start_paused = true)]
async fn those_who_give_up_hold_nobody_up() {
    let budget = Budget::of(100_000);
    let share = || budget.share(Class::Rest, Peer::unique());
    for _ in 0..20 {
        let (left, stays) = (share(), share());
        let given_up = timeout(ms(100), left.pay(MB));
        let (given_up, took) = tokio::join!(given_up, timed(stays.pay(100_000)));
        assert!(given_up.is_err() && took < ms(1_150), "{took:?}");
        // One that was granted its piece, and never looked.
        let mut turn = Box::pin(share().take(1_000));
        let mut first = Box::pin(share().take(1_000));
        let mut context = Context::from_waker(Waker::noop());
        let _ = (first.as_mut().poll(&mut context), turn.as_mut().poll(&mut context));
        sleep(ms(50)).await;
        drop((first, turn));
    }
    assert!(is_empty(&budget), "{:?}", budget.0.queue());
}

#[tokio::test(start_paused = true)]
async fn without_a_rate_only_classes_below_wait_for_those_that_move() {
    let budget = Budget::unlimited();
    let [above, below] = [Class::Rest, Class::Prefetch].map(|class| budget.share(class, Peer::unique()));
    assert!(below.passes() && above.passes() && !below.passes());
    assert!(below.is_outranked() && !above.is_outranked());
    assert_eq!(timed(above.pay(usize::MAX)).await, Duration::ZERO);
    let moving = async {
        for _ in 0..20 {
            above.pay(1).await;
            sleep(ms(50)).await;
        }
    };
    let (_, waited) = tokio::join!(moving, timed(below.pay(1)));
    assert!((ms(1_000)..ms(1_110)).contains(&waited), "{waited:?}");
    assert!(!below.is_outranked() && below.passes() && is_empty(&budget));
    // One that has waited itself keeps those below waiting too.
    let [awaited, between] = [Class::Awaited, Class::Peers].map(|class| budget.share(class, Peer::unique()));
    assert!(awaited.passes());
    between.pay(1).await;
    assert!(!below.passes());
}

#[tokio::test(start_paused = true)]
async fn the_rate_follows_the_clock() {
    static SECONDS: AtomicU32 = AtomicU32::new(0);
    let clock = || {
        let second = SECONDS.load(Relaxed);
        WeekTime::new(0, 7, second / 60, second % 60).unwrap()
    };
    SECONDS.store(59 * 60 + 50, Relaxed);
    let schedule = Schedule::parse("07:59-08:00 100kB, else unlimited").unwrap();
    let budget = Budget::new(schedule, clock);
    let share = budget.share(Class::Rest, Peer::unique());
    assert_eq!((budget.rate(), budget.least_rate()), (Some(100_000), Some(100_000)));
    // Ten seconds at the rate, then all that is left at once.
    let tick = async {
        sleep(ms(9_990)).await;
        SECONDS.store(0, Relaxed);
    };
    let (_, took) = tokio::join!(tick, timed(share.pay(50 * MB)));
    assert!((ms(9_950)..ms(10_100)).contains(&took), "{took:?}");
    assert!(budget.rate().is_none() && share.passes());
    // The clock is set: that is seen within a minute.
    SECONDS.store(59 * 60, Relaxed);
    sleep(ms(61_000)).await;
    assert!(!share.passes());
    assert_eq!(budget.rate(), Some(100_000));
}

/// On real threads and timers, also on a machine that is busy.
#[test]
fn a_rate_is_kept_by_the_clock_on_the_wall() {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_time().build().unwrap();
    let budget = Budget::of(50_000_000);
    let began = std::time::Instant::now();
    runtime.block_on(async {
        let tasks: Vec<_> = (0..8)
            .map(|number| {
                let share = budget.share(Class::ALL[number % 4], Peer::unique());
                tokio::spawn(async move {
                    for _ in 0..100 {
                        share.pay(62_500).await;
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
    });
    let took = began.elapsed();
    // 50 MB take a second. A busy machine may take longer, and none is faster.
    assert!((ms(980)..ms(60_000)).contains(&took), "{took:?}");
    assert!(is_empty(&budget));
}
