//! Clusters that share a box by mistake never touch each other's volumes.

use crate::clusters::Clusters;

/// Steps of one seed.
const STEPS: usize = 60;

fn run(seed: u64, ids: [u64; 2]) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .unwrap();
    runtime.block_on(async {
        let mut clusters = Clusters::new(seed, ids).await;
        let ended = clusters.run(STEPS).await;
        ended.map_err(|what| {
            let told = clusters.told;
            format!("seed {seed}: {what}\nafter\n{}", told.join("\n"))
        })
    })
}

#[test]
fn two_clusters_on_one_box_never_touch_each_others_volumes() {
    for seed in 0..40 {
        run(seed, [1, 2]).unwrap_or_else(|what| panic!("{what}"));
    }
}

#[test]
fn two_clusters_of_one_id_do_and_are_found() {
    let found = (0..10).find_map(|seed| run(seed, [1, 1]).err().map(|what| (seed, what)));
    assert!(found.is_some(), "the check cannot fail");
}
