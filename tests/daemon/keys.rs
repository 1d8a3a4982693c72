//! The private key: who else may read it decides whether it is used.

use std::os::unix::fs::{PermissionsExt as _, symlink};

use tonic::Code;

use crate::surroundings::Surroundings;

#[tokio::test(flavor = "multi_thread")]
async fn a_world_readable_key_is_refused_until_its_mode_is_right() {
    let around = Surroundings::start(&["main"]).await;
    around.chmod_key(0o644);
    let (daemon, csi) = (around.daemon(), around.csi().await);
    let record = daemon.logged("box is not connected", |_| true).await;
    let error = record["error"].as_str().unwrap();
    for part in [around.key_path().to_str().unwrap(), "mode 0644", "chmod o-rwx"] {
        assert!(error.contains(part), "{part:?} is not in {error}");
    }
    let body = daemon.ready(false).await;
    assert!(body["reasons"].to_string().contains("mode 0644"), "{body}");
    daemon.logged("caches have synced", |_| true).await;
    let refusal = csi.create("pvc-1", &[]).await.unwrap_err();
    assert_eq!(refusal.code(), Code::Unavailable);
    assert!(refusal.message().contains("mode 0644"), "{refusal:?}");
    assert_eq!(around.main().rds.exec_count(), 0, "the key was used");
    around.chmod_key(0o600);
    daemon.ready(true).await;
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_as_kubelet_lays_out_a_secret_is_accepted() {
    let around = Surroundings::start(&["main"]).await;
    std::fs::remove_file(around.key_path()).unwrap();
    let version = around.path("..2026_01_01");
    std::fs::create_dir(&version).unwrap();
    let file = version.join("id_ed25519");
    std::fs::write(&file, &around.user.private).unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o440)).unwrap();
    symlink("..2026_01_01", around.path("..data")).unwrap();
    symlink("..data/id_ed25519", around.key_path()).unwrap();
    let (daemon, _csi) = around.ready().await;
    daemon.stop().await;
}
