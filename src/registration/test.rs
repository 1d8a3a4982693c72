use slog::{Discard, Logger, o};
use tokio::time::timeout;
use tonic::transport::{Channel, Endpoint};

use super::wire::registration_client::RegistrationClient;
use super::*;

const PATIENCE: Duration = Duration::from_secs(20);

struct Offered {
    plugin: Plugin,
    known: watch::Receiver<Known>,
    stop: CancellationToken,
    task: tokio::task::JoinHandle<()>,
    _folder: tempfile::TempDir,
}

fn offered() -> Offered {
    let folder = tempfile::tempdir().unwrap();
    let plugin = Plugin {
        name: "rds.example".into(),
        endpoint: "/k/plugins/rds.example/csi.sock".into(),
        kubelet: folder.path().to_owned(),
    };
    let (sender, known) = watch::channel(Known::Unasked);
    let (stop, offered) = (CancellationToken::new(), plugin.clone());
    let stopped = stop.clone();
    let task = tokio::spawn(async move {
        offer(offered, sender, &Logger::root(Discard, o!()), stopped).await;
    });
    Offered { plugin, known, stop, task, _folder: folder }
}

/// As kubelet does, as soon as there is a socket.
async fn dial(plugin: &Plugin) -> RegistrationClient<Channel> {
    let endpoint = Endpoint::try_from(format!("unix://{}", plugin.socket().display())).unwrap();
    let dialled = async {
        loop {
            match endpoint.connect().await {
                Ok(channel) => return RegistrationClient::new(channel),
                Err(_) => sleep(Duration::from_millis(10)).await,
            }
        }
    };
    timeout(PATIENCE, dialled).await.unwrap()
}

async fn info(plugin: &Plugin) -> wire::PluginInfo {
    let answer = dial(plugin).await.get_info(wire::InfoRequest {}).await;
    answer.unwrap().into_inner()
}

#[tokio::test]
async fn kubelet_hears_what_we_are_and_we_hear_what_it_thinks_of_us() {
    let mut offered = offered();
    let found = info(&offered.plugin).await;
    assert_eq!((found.r#type.as_str(), found.name.as_str()), ("CSIPlugin", "rds.example"));
    assert_eq!(found.endpoint, "/k/plugins/rds.example/csi.sock");
    assert_eq!(found.supported_versions, ["1.0.0"]);
    for (plugin_registered, error, wanted) in
        [(false, "no", Known::Refused("no".into())), (true, "", Known::Registered)]
    {
        let status = wire::RegistrationStatus { plugin_registered, error: error.into() };
        dial(&offered.plugin).await.notify_registration_status(status).await.unwrap();
        timeout(PATIENCE, offered.known.wait_for(|known| *known == wanted)).await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn an_emptied_folder_gets_a_new_socket_and_the_end_takes_it_away() {
    let offered = offered();
    info(&offered.plugin).await;
    let folder = offered.plugin.kubelet.join("plugins_registry");
    std::fs::remove_dir_all(&folder).unwrap();
    assert_eq!(info(&offered.plugin).await.name, "rds.example");
    std::fs::remove_file(offered.plugin.socket()).unwrap();
    assert_eq!(info(&offered.plugin).await.name, "rds.example");
    offered.stop.cancel();
    timeout(PATIENCE, offered.task).await.unwrap().unwrap();
    assert!(!offered.plugin.socket().exists());
}
