//! Members that give other bytes than the signed ones, among honest ones (W2, W18).

use std::{
    ops::Range,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};

use weighbridge_swarm::{Item, Message, Role};
use weighbridge_testkit::Sample;

use crate::kit::*;

/// A byte run that no file has.
const WRONG: [u8; 4096] = [0; 4096];

/// Whether anything in a folder has the bytes of a liar.
fn has_wrong_bytes(folder: &Path) -> bool {
    std::fs::read_dir(folder).unwrap().any(|entry| {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_dir() {
            return has_wrong_bytes(&entry.path());
        }
        let bytes = std::fs::read(entry.path()).unwrap();
        bytes.windows(64).any(|window| window == &WRONG[..64])
    })
}

/// The right bytes of a range, with one chunk of them overwritten.
fn wrong(sample: &Sample, item: Item, range: &Range<u64>) -> Vec<u8> {
    let mut bytes = right(sample, item, range);
    let len = bytes.len().min(WRONG.len());
    bytes[..len].copy_from_slice(&WRONG[..len]);
    bytes
}

struct Stage {
    sample: Arc<Sample>,
    node: Node,
    seed: Node,
    hostile: Arc<Hostile>,
    serving: Serving,
    news: Talk,
    began: Instant,
}

/// A member that has no origin, and fetches from an honest member and a liar.
async fn stage(answer: impl Fn(&Sample, Item, Range<u64>) -> Answer + Send + Sync + 'static) -> Stage {
    let sample = model(12);
    let ticket = ticket(&sample, &[]);
    let seed = Begin { rate: Some(1_500_000), ..Begin::of(&sample, &ticket) }.seed().await;
    let joined = Begin::of(&sample, &ticket).peers(&[seed.address()]).join().await;
    let address = std::net::SocketAddr::from(([127, 0, 0, 1], joined.swarm.port()));
    let hostile = Arc::new(Hostile::new(&sample, &ticket).await);
    let of = Arc::clone(&sample);
    let serving = hostile.serve(move |item, range| answer(&of, item, range));
    let mut news = hostile.news(address, Role::HasAll).await.unwrap();
    news.say(&Message::HaveAll).await.unwrap();
    until("neighbours", || joined.swarm.figures().members == 2).await;
    let began = Instant::now();
    let node = joined.fetch();
    Stage { sample, node, seed, hostile, serving, news, began }
}

async fn assert_is_banned(stage: &mut Stage) {
    assert!(stage.news.is_closed_within(Duration::from_secs(5)).await, "the channel for news stays open");
    let address = stage.node.address();
    let again = async {
        let mut talk = stage.hostile.prove(address).await.ok()?;
        talk.raw(&[1]).await.ok()?;
        talk.say(&Message::Announce {
            role: Role::HasAll,
            port: stage.hostile.address().port(),
            addresses: Vec::new(),
        })
        .await
        .ok()?;
        Some(talk.is_closed_within(Duration::from_secs(5)).await)
    };
    assert_ne!(again.await, Some(false), "it comes back with the same key");
    let again = async {
        let mut talk = stage.hostile.requests(address).await.ok()?;
        talk.get(Item::File(stage.sample.root(0)), 0..1).await.ok()
    };
    assert_eq!(again.await, None, "it is given bytes");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_gives_a_wrong_chunk_is_banned_and_no_other_one() {
    let mut stage = stage(|sample, item, range| match item {
        Item::Head => Answer::Note(sample.note.clone()),
        Item::File(_) => Answer::Give(wrong(sample, item, &range)),
        _ => Answer::Give(right(sample, item, &range)),
    })
    .await;
    stage.node.done().await;
    assert_eq!(stage.serving.asked_for_files(), 1, "it is asked again after its first wrong chunk");
    assert_eq!(stage.node.heard.liars(), 1);
    assert!(!has_wrong_bytes(&stage.node.folder()));
    assert_is_banned(&mut stage).await;
    assert_eq!(stage.seed.swarm.figures().members, 1);
    assert_eq!(stage.serving.asked_for_files(), 1);
    assert!(stage.began.elapsed() < SOON);
}

/// A member that is banned is gone: it is not counted, and owns no pieces for which others wait.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_banned_member_is_not_counted() {
    let mut stage = stage(|sample, item, range| match item {
        Item::Head => Answer::Note(sample.note.clone()),
        Item::File(_) => Answer::Give(wrong(sample, item, &range)),
        _ => Answer::Give(right(sample, item, &range)),
    })
    .await;
    stage.node.done().await;
    assert!(stage.news.is_closed_within(Duration::from_secs(5)).await);
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(stage.node.swarm.figures().members, 1, "the honest one alone");
}

/// A member that shows its head until it has given a wrong chunk, and then does not, or does.
fn lies_once(shows_head: bool) -> impl Fn(&Sample, Item, Range<u64>) -> Answer + Send + Sync + 'static {
    let has_lied = AtomicBool::new(false);
    move |sample, item, range| match item {
        Item::File(_) => {
            has_lied.store(true, SeqCst);
            Answer::Give(wrong(sample, item, &range))
        }
        _ if has_lied.load(SeqCst) && !shows_head => Answer::Close,
        Item::Head => Answer::Note(sample.note.clone()),
        _ => Answer::Give(right(sample, item, &range)),
    }
}

/// A liar that hides its head stays a liar: it is asked for nothing more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_gives_a_wrong_chunk_and_hides_its_head_is_not_asked_again() {
    let stage = stage(lies_once(false)).await;
    stage.node.done().await;
    assert_eq!(stage.serving.asked_for_files(), 1);
    assert!(!has_wrong_bytes(&stage.node.folder()));
}

/// A liar does not begin anew with another channel, before its head is read or after.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_liar_that_comes_back_at_once_is_not_asked_again() {
    let comes_back = async |shows_head: bool| {
        let Stage { sample: _sample, node, seed: _seed, hostile, serving, news, .. } =
            stage(lies_once(shows_head)).await;
        let address = node.address();
        let returns = tokio::spawn(async move {
            let mut held = Some(news.keep());
            loop {
                tokio::time::sleep(Duration::from_millis(60)).await;
                let Ok(mut talk) = hostile.news(address, Role::HasAll).await else { return };
                if talk.say(&Message::HaveAll).await.is_err() {
                    return;
                }
                drop(held.replace(talk.keep()));
            }
        });
        node.done().await;
        returns.abort();
        assert_eq!(serving.asked_for_files(), 1, "shows its head: {shows_head}");
        assert!(!has_wrong_bytes(&node.folder()));
    };
    tokio::join!(comes_back(true), comes_back(false));
}

/// A member that serves another head than the wanted one is not of use, and nobody else is blamed for it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_with_another_head_costs_nobody_else_anything() {
    let of_other = Sample::of(&[("model.bin", 5000)], 9).note;
    // From the beginning, or once it has given a wrong chunk.
    let has = async |head: Vec<u8>, is_from_the_beginning: bool| {
        let has_lied = AtomicBool::new(is_from_the_beginning);
        let stage = stage(move |sample, item, range| match item {
            Item::Head if has_lied.load(SeqCst) => Answer::Note(head.clone()),
            Item::Head => Answer::Note(sample.note.clone()),
            Item::File(_) => {
                has_lied.store(true, SeqCst);
                Answer::Give(wrong(sample, item, &range))
            }
            _ => Answer::Give(wrong(sample, item, &range)),
        })
        .await;
        stage.node.done().await;
        assert!(stage.serving.asked_for_files() <= 1, "asked {} times", stage.serving.asked_for_files());
        assert!(stage.node.heard.liars() <= 1);
        assert!(!has_wrong_bytes(&stage.node.folder()));
        let taken = stage.node.swarm.figures().taken;
        assert!(
            taken >= size(&stage.sample) - PIECE,
            "the honest one gave all but what was asked for in vain: {taken}"
        );
    };
    tokio::join!(
        has(of_other.clone(), true),
        has(of_other.clone(), false),
        has(b"no head at all".to_vec(), true),
        has(b"no head at all".to_vec(), false),
    );
}

/// Honest members whose files change on the disk give nothing wrong: they judge again before they send.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_whose_files_have_changed_sends_none_of_it() {
    let sample = model(3);
    let ticket = ticket(&sample, &[]);
    let seed = Begin::of(&sample, &ticket).seed().await;
    let mut bytes = sample.bytes(0).to_vec();
    bytes[..WRONG.len()].copy_from_slice(&WRONG);
    std::fs::write(seed.folder().join("model.bin"), bytes).unwrap();
    let hostile = Hostile::new(&sample, &ticket).await;
    let mut talk = hostile.requests(seed.address()).await.unwrap();
    let item = Item::File(sample.root(0));
    let (answer, _) = talk.get(item, 0..PIECE).await.unwrap();
    assert_eq!(answer, Message::Lack);
    let (answer, bytes) = talk.get(item, PIECE..2 * PIECE).await.unwrap();
    assert!(answer == Message::Give && bytes == right(&sample, item, &(PIECE..2 * PIECE)));
}
