//! The incident on every kind of box: each fact about RouterOS that nobody has proven, turned into
//! its opposite, one at a time, and none; and on a release that cannot name an
//! export. A line per box is printed as its story ends.

use rds_csi::sandbox::ABREAST;
use rds_csi::sandbox::switches::{Kind, tell_all};
use rds_sim::routeros::{Quirks, Version};

#[test]
fn the_incident_needs_nobody_whatever_is_true_of_the_box() {
    let log = slog::Logger::root(slog::Discard, slog::o!());
    let mut kinds = Kind::all(Version::V7_24_4);
    kinds.push(Kind::release(Version::V7_20_8));
    // Written past the test harness, which would keep it until something fails.
    let told = tell_all(kinds, ABREAST, &log, &mut std::io::stdout()).unwrap();
    let broken: Vec<_> =
        told.iter().filter(|told| !told.all_held()).map(|t| &t.kind.name).collect();
    assert_eq!(broken, [] as [&String; 0]);
    assert_eq!(told.len(), Quirks::all_switches().len() + 2);
}
