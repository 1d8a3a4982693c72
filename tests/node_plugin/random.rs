//! Random sequences of kubelet's calls, outages, fences, kills and reboots: what a pod was told is
//! written is on the volume at the end, and on no other.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use proptest::prelude::*;
use rds_csi::node::Faults;

use super::GIB;
use crate::kernel::{Content, Kernel};
use crate::kubelet::{Attachment, Kubelet, file_system, pod};

#[derive(Debug, Clone)]
enum Act {
    Stage,
    Publish(usize),
    Unpublish(usize),
    Unstage,
    Expand,
    Write(usize),
    /// The volume is fenced and attached anew: another generation.
    Fence,
    Away(bool),
    Renumber,
    Reboot,
    /// The plugin is killed at its n-th point from now, and started anew.
    Kill(usize),
    CutMkfs(bool),
    LoseDrops,
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        4 => Just(Act::Stage),
        4 => (0..3usize).prop_map(Act::Publish),
        2 => (0..3usize).prop_map(Act::Unpublish),
        1 => Just(Act::Unstage),
        1 => Just(Act::Expand),
        4 => (0..3usize).prop_map(Act::Write),
        1 => Just(Act::Fence),
        1 => any::<bool>().prop_map(Act::Away),
        1 => Just(Act::Renumber),
        1 => Just(Act::Reboot),
        3 => (0..6usize).prop_map(Act::Kill),
        1 => any::<bool>().prop_map(Act::CutMkfs),
        1 => Just(Act::LoseDrops),
    ]
}

/// One volume and what is known of it.
struct Story {
    kernel: Kernel,
    kubelet: Kubelet,
    name: &'static str,
    generation: u32,
    /// What the ledger would say.
    formatted: bool,
    written: BTreeMap<String, String>,
}

impl Story {
    fn new(kernel: &Kernel, name: &'static str) -> Self {
        kernel.make_disk(name, GIB);
        let story = Self {
            kernel: kernel.clone(),
            kubelet: Kubelet::new(kernel),
            name,
            generation: 1,
            formatted: false,
            written: BTreeMap::new(),
        };
        kernel.export(name, &story.attachment().nqn);
        story
    }

    fn attachment(&self) -> Attachment {
        Attachment::new(self.name, self.generation, !self.formatted, file_system("xfs"))
    }

    fn target(&self, pod_number: usize) -> PathBuf {
        pod(&format!("{}-{pod_number}", self.name))
    }

    /// Calls may fail; what they must not do is judged at the end.
    async fn does(&mut self, act: &Act, step: usize) {
        let (kernel, volume) = (self.kernel.clone(), self.attachment());
        match act {
            Act::Stage => drop(self.kubelet.stage(&volume).await),
            Act::Publish(at) => {
                // kubelet starts the pod only when it was published.
                let _ = self.kubelet.publish(&volume, &self.target(*at)).await;
            }
            Act::Unpublish(at) => drop(self.kubelet.unpublish(&volume, &self.target(*at)).await),
            Act::Unstage => drop(self.kubelet.unstage(&volume).await),
            Act::Expand => {
                kernel.change(|world| world.disks.get_mut(self.name).unwrap().bytes += GIB);
                drop(self.kubelet.expand(&volume, &volume.staging(), GIB as i64).await);
            }
            Act::Write(at) => {
                let (target, name) = (self.target(*at), format!("file{step}"));
                if kernel.mounted(&target) > 0 && kernel.write(&target, &name, self.name).is_ok() {
                    self.written.insert(name, self.name.to_owned());
                }
            }
            Act::Fence => {
                // ControllerUnpublish without a report: never becomes maybe.
                self.formatted = true;
                if kernel.content(self.name) == Content::Zeros {
                    self.formatted = false;
                }
                self.generation += 1;
                kernel.export(self.name, &self.attachment().nqn);
            }
            Act::Away(away) => kernel.change(|world| world.away = *away),
            Act::Renumber => kernel.renumber(&volume.nqn),
            Act::Reboot => {
                kernel.reboot();
                self.kubelet = Kubelet::new(&kernel);
            }
            Act::Kill(after) => {
                let left = Arc::new(AtomicUsize::new(*after));
                let judge = move |_| match left.load(Ordering::Relaxed) {
                    0 => true,
                    some => {
                        left.store(some - 1, Ordering::Relaxed);
                        false
                    }
                };
                // It stays dead until the next start; here that is the next call but one.
                let mortal = Kubelet::with(&kernel, Faults::at(judge));
                drop(mortal.stage(&volume).await);
                drop(mortal.publish(&volume, &self.target(0)).await);
                drop(mortal.unpublish(&volume, &self.target(1)).await);
            }
            Act::CutMkfs(said) => kernel.change(|world| {
                world.cut_mkfs = Some(Content::HalfMade("xfs".into(), *said));
            }),
            Act::LoseDrops => kernel.change(|world| world.drops = !world.drops),
        }
    }

    fn holds(&self) {
        assert_eq!(self.kernel.world().violations, Vec::<String>::new());
        match self.kernel.content(self.name) {
            Content::Files { files, .. } => assert_eq!(files, self.written),
            other => assert!(self.written.is_empty(), "{other:?} instead of {:?}", self.written),
        }
    }

    /// All is well again: the volume can be used, unless its only mkfs was cut off in a way that
    /// nobody can tell from data.
    async fn converges(&mut self) {
        self.kernel.change(|world| {
            (world.away, world.drops, world.cut_mkfs) = (false, false, None);
        });
        self.kernel.export(self.name, &self.attachment().nqn);
        self.kubelet = Kubelet::new(&self.kernel);
        let volume = self.attachment();
        let target = self.target(0);
        match self.kubelet.publish(&volume, &target).await {
            Ok(()) => {
                assert_eq!(self.kernel.disk_at(&target).as_deref(), Some(self.name));
                self.kernel.write(&target, "last", self.name).unwrap();
                self.written.insert("last".into(), self.name.into());
            }
            Err(status) => {
                let content = self.kernel.content(self.name);
                assert!(matches!(content, Content::HalfMade(..)), "{status} with {content:?}");
            }
        }
        for at in 0..3 {
            self.kubelet.unpublish(&volume, &self.target(at)).await.unwrap();
            assert_eq!(self.kernel.mounted(&self.target(at)), 0);
        }
        self.kubelet.unstage(&volume).await.unwrap();
        assert!(
            self.kernel.connected().iter().all(|nqn| !nqn.contains(&format!(":{}.", self.name)))
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn no_sequence_of_calls_loses_what_a_pod_has_written(
        acts in proptest::collection::vec((act(), any::<bool>()), 1..40)
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .start_paused(true)
            .build()
            .unwrap();
        runtime.block_on(async {
            let kernel = Kernel::new();
            let mut stories = [Story::new(&kernel, "v"), Story::new(&kernel, "w")];
            for (step, (act, second)) in acts.iter().enumerate() {
                stories[usize::from(*second)].does(act, step).await;
                stories.iter().for_each(Story::holds);
            }
            for story in &mut stories {
                story.converges().await;
                story.holds();
            }
        });
    }
}
