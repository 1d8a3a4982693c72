use slog::{Discard, Logger, o};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
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
async fn kubelet_may_call_us_by_the_path_of_our_socket() {
    let offered = offered();
    dial(&offered.plugin).await;
    // tonic cannot say such a host; grpc-go's first frames can be written down: the preface, empty SETTINGS,
    // HEADERS with the literal fields of GetInfo, DATA with an empty message.
    let field = |name: &[u8], value: &[u8]| {
        let length = |text: &[u8]| u8::try_from(text.len()).unwrap();
        [&[0x40, length(name)], name, &[length(value)], value].concat()
    };
    let path = offered.plugin.socket().display().to_string().replace('/', "%2F");
    let authority = [&[0x41, u8::try_from(path.len()).unwrap()], path.as_bytes()].concat();
    let fields = [
        vec![0x83, 0x86],
        field(b":path", b"/pluginregistration.Registration/GetInfo"),
        authority,
        field(b"content-type", b"application/grpc"),
        field(b"te", b"trailers"),
    ]
    .concat();
    let frame = |kind: u8, flags: u8, stream: u8, body: &[u8]| {
        let length = u8::try_from(body.len()).unwrap();
        [&[0, 0, length, kind, flags, 0, 0, 0, stream], body].concat()
    };
    let said = [
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(),
        frame(4, 0, 0, &[]),
        frame(1, 0x4, 1, &fields),
        frame(0, 0x1, 1, &[0; 5]),
    ]
    .concat();
    let mut stream = UnixStream::connect(offered.plugin.socket()).await.unwrap();
    stream.write_all(&said).await.unwrap();
    let mut answer = Vec::new();
    let answered = async {
        while !answer.windows(KIND.len()).any(|part| part == KIND.as_bytes()) {
            assert_ne!(stream.read_buf(&mut answer).await.unwrap(), 0, "{answer:?}");
        }
    };
    timeout(PATIENCE, answered).await.unwrap();
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
