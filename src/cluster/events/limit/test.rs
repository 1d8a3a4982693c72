use super::*;

fn bounds() -> Bounds {
    Bounds {
        queue: 10,
        window: Duration::from_secs(60),
        reason_burst: 3,
        reason_every: Duration::from_secs(10),
        burst: 5,
        every: Duration::from_secs(2),
        series: 4,
    }
}

fn limiter() -> (Limiter<()>, Instant) {
    let now = Instant::now();
    (Limiter::new(bounds(), now), now)
}

fn pv(name: &str, reason: Reason) -> Key {
    (About::Volume(name.into()), reason)
}

fn driver(reason: Reason) -> Key {
    (About::Driver, reason)
}

fn judge(limiter: &mut Limiter<()>, key: &Key, now: Instant) -> Verdict {
    limiter.judge(key, now, |known| known.is_none().then_some(()))
}

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test]
async fn a_thousand_flaps_of_a_box_are_two_series_and_a_write_each_per_window() {
    let (mut limiter, begun) = limiter();
    let (mut posts, mut raises, mut last) = (0, 0, BTreeMap::new());
    for flap in 0..1000 {
        let now = begun + SECOND * flap;
        for reason in [Reason::RDSDisconnected, Reason::RDSReconnected] {
            if judge(&mut limiter, &driver(reason), now) == Verdict::Post {
                posts += 1;
            }
        }
        for (key, count) in limiter.due(now) {
            raises += 1;
            last.insert(key.1, count);
        }
    }
    assert_eq!(posts, 2);
    assert_eq!(raises, 2 * (1000 / 60));
    assert!(last.values().all(|count| (900..=1000).contains(count)), "{last:?}");
}

#[tokio::test]
async fn a_single_notice_is_posted_once_and_forgotten_after_its_window() {
    let (mut limiter, begun) = limiter();
    let key = driver(Reason::RDSReconnected);
    assert_eq!(judge(&mut limiter, &key, begun), Verdict::Post);
    assert_eq!(limiter.next_due(), Some(begun + SECOND * 60));
    assert_eq!(limiter.due(begun + SECOND * 59), []);
    assert_eq!(limiter.due(begun + SECOND * 60), []);
    assert_eq!(limiter.next_due(), None);
    let later = begun + SECOND * 61;
    assert_eq!(judge(&mut limiter, &key, later), Verdict::Post);
}

#[tokio::test]
async fn the_count_goes_on_over_windows() {
    let (mut limiter, begun) = limiter();
    let key = driver(Reason::RDSReconnected);
    for _ in 0..5 {
        judge(&mut limiter, &key, begun);
    }
    assert_eq!(limiter.due(begun + SECOND * 60), [(key.clone(), 5)]);
    let later = begun + SECOND * 100;
    assert_eq!(judge(&mut limiter, &key, later), Verdict::Counted);
    assert_eq!(limiter.due(begun + SECOND * 119), []);
    assert_eq!(limiter.due(begun + SECOND * 120), [(key, 6)]);
}

#[tokio::test]
async fn one_reason_on_many_objects_is_bounded_and_leaves_room_for_another_reason() {
    let (mut limiter, begun) = limiter();
    let verdicts: Vec<Verdict> = (0..4)
        .map(|n| judge(&mut limiter, &pv(&format!("pv{n}"), Reason::VolumeAttached), begun))
        .collect();
    use Verdict::{Dropped, Post};
    assert_eq!(verdicts, [Post, Post, Post, Dropped]);
    let other = driver(Reason::RDSDisconnected);
    assert_eq!(judge(&mut limiter, &other, begun), Post);
}

#[tokio::test]
async fn tokens_come_back_one_after_the_other() {
    let (mut limiter, begun) = limiter();
    let mut post = |n: u32, now| {
        let key = pv(&format!("pv{n}"), Reason::VolumeAttached);
        let verdict = judge(&mut limiter, &key, now);
        limiter.forget(&key);
        verdict == Verdict::Post
    };
    assert!((0..3).all(|n| post(n, begun)));
    assert!(!post(3, begun + SECOND * 9));
    assert!(post(3, begun + SECOND * 10));
    assert!(!post(4, begun + SECOND * 19));
    assert!(post(4, begun + SECOND * 20));
    let rested = begun + SECOND * 10_000;
    assert!((5..8).all(|n| post(n, rested)));
    assert!(!post(8, rested));
}

#[tokio::test]
async fn all_reasons_together_are_bounded_too() {
    let (mut limiter, begun) = limiter();
    let reasons = [Reason::VolumeAttached, Reason::VolumeDetached, Reason::VolumeFenced];
    let mut posted = 0;
    for reason in reasons {
        for n in 0..3 {
            let key = pv(&format!("pv{n}"), reason);
            posted += usize::from(judge(&mut limiter, &key, begun) == Verdict::Post);
            limiter.forget(&key);
        }
    }
    assert_eq!(posted, 5);
}

#[tokio::test]
async fn an_update_without_a_token_waits_for_the_next_window() {
    let now = Instant::now();
    let mut scarce = bounds();
    scarce.burst = 1;
    scarce.every = Duration::from_secs(100);
    let mut limiter = Limiter::new(scarce, now);
    let key = driver(Reason::RDSReconnected);
    judge(&mut limiter, &key, now);
    judge(&mut limiter, &key, now);
    assert_eq!(limiter.due(now + SECOND * 60), []);
    assert_eq!(limiter.next_due(), Some(now + SECOND * 120));
    assert_eq!(limiter.due(now + SECOND * 120), [(key, 2)]);
}

#[tokio::test]
async fn only_so_many_series_are_remembered() {
    let (mut limiter, begun) = limiter();
    for reason in
        [Reason::VolumeAttached, Reason::VolumeDetached, Reason::VolumeFenced, Reason::NodeSuspect]
    {
        assert_eq!(judge(&mut limiter, &driver(reason), begun), Verdict::Post);
    }
    let fifth = driver(Reason::RecoveryHeld);
    assert_eq!(judge(&mut limiter, &fifth, begun), Verdict::Dropped);
    limiter.due(begun + SECOND * 60);
    assert_eq!(judge(&mut limiter, &fifth, begun + SECOND * 60), Verdict::Post);
}

#[tokio::test]
async fn what_is_remembered_of_a_series_is_updated_by_later_notices() {
    let now = Instant::now();
    let mut limiter = Limiter::new(bounds(), now);
    let key = driver(Reason::RecoveryHeld);
    let mut note = |text: &'static str| {
        limiter.judge(&key, now, |known| match known {
            Some(known) => {
                *known = text;
                None
            }
            None => Some(text),
        });
        limiter.memory(&key).copied()
    };
    assert_eq!(note("first"), Some("first"));
    assert_eq!(note("second"), Some("second"));
}

#[tokio::test]
async fn new_bounds_count_what_was_posted_under_the_old_ones() {
    let (mut limiter, now) = limiter();
    for name in ["a", "b", "c"] {
        assert_eq!(judge(&mut limiter, &pv(name, Reason::VolumeFenced), now), Verdict::Post);
    }
    assert_eq!(judge(&mut limiter, &pv("d", Reason::VolumeFenced), now), Verdict::Dropped);
    let wider = Bounds { reason_burst: 4, series: 10, ..bounds() };
    limiter.rebound(wider.clone(), now);
    assert_eq!(judge(&mut limiter, &pv("d", Reason::VolumeFenced), now), Verdict::Post);
    assert_eq!(judge(&mut limiter, &pv("e", Reason::VolumeFenced), now), Verdict::Dropped);
    limiter.rebound(Bounds { burst: 1, reason_burst: 1, ..wider }, now);
    // Four were posted, which is more than the new burst: the next comes after the refill alone.
    assert_eq!(judge(&mut limiter, &pv("e", Reason::VolumeAttached), now), Verdict::Dropped);
    let later = now + SECOND * 2;
    assert_eq!(judge(&mut limiter, &pv("e", Reason::VolumeAttached), later), Verdict::Post);
}
