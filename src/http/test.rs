use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use prometheus::Registry;
use slog::Discard;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::*;

/// Health that a test sets.
struct Patient {
    alive: Mutex<Result<(), String>>,
    readiness: Mutex<Readiness>,
    has_agent: AtomicBool,
}

#[async_trait::async_trait]
impl Health for Patient {
    fn livez(&self) -> Result<(), String> {
        self.alive.lock().unwrap().clone()
    }
    async fn readyz(&self) -> Readiness {
        self.readiness.lock().unwrap().clone()
    }
    async fn statusz(&self) -> Value {
        serde_json::json!({ "backends": { "main": "up" } })
    }
    fn agent(&self) -> Option<&dyn Challenged> {
        self.has_agent.load(Ordering::Relaxed).then_some(self)
    }
}

#[async_trait::async_trait]
impl Challenged for Patient {
    async fn answer(&self, challenge: &str) -> Result<Vec<u8>, Unanswerable> {
        match challenge {
            "odd" => Err(Unanswerable::Malformed("is odd".into())),
            "mute" => Err(Unanswerable::Unable("has no Secret".into())),
            said => Ok(said.as_bytes().to_vec()),
        }
    }
}

struct Served {
    address: SocketAddr,
    patient: Arc<Patient>,
    metrics: Metrics,
    shutdown: CancellationToken,
    task: JoinHandle<()>,
}

impl Served {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let metrics = Metrics::new(Registry::new()).unwrap();
        let readiness = Readiness { ready: true, ..Readiness::default() };
        let (alive, has_agent) = (Mutex::new(Ok(())), AtomicBool::new(false));
        let patient = Arc::new(Patient { alive, readiness: readiness.into(), has_agent });
        let shutdown = CancellationToken::new();
        let task = tokio::spawn({
            let (metrics, health, shutdown) = (metrics.clone(), patient.clone(), shutdown.clone());
            async move {
                let log = Logger::root(Discard, o!());
                serve(listener, metrics, health, &log, shutdown).await;
            }
        });
        Self { address, patient, metrics, shutdown, task }
    }

    /// Sends `bytes` and reads until the server closes.
    async fn send(&self, bytes: &str) -> String {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(bytes.as_bytes()).await.unwrap();
        let mut answer = String::new();
        let read = timeout(2 * CONNECTION_DEADLINE, stream.read_to_string(&mut answer));
        read.await.unwrap().unwrap();
        answer
    }

    async fn get(&self, path: &str) -> (u16, String) {
        let answer = self.send(&format!("GET {path} HTTP/1.1\r\nhost: test\r\n\r\n")).await;
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
    }
}

#[tokio::test]
async fn each_path_answers_from_its_source() {
    let served = Served::start().await;
    served.metrics.rds.link("10.0.0.1:22", true);
    let (status, metrics) = served.get("/metrics").await;
    assert_eq!(status, 200);
    assert!(metrics.contains("rds_csi_rds_connection_state{address=\"10.0.0.1:22\"} 1\n"));
    assert_eq!(served.get("/livez").await, (200, "ok\n".into()));
    assert_eq!(served.get("/readyz").await.0, 200);
    let (status, body) = served.get("/statusz?pretty").await;
    let body: Value = serde_json::from_str(&body).unwrap();
    assert_eq!((status, &body["backends"]["main"]), (200, &Value::from("up")));
    assert_eq!(served.get("/").await.0, 404);
    assert_eq!(served.get("/metrics/x").await.0, 404);
}

#[tokio::test]
async fn what_is_wrong_is_said_with_503() {
    let served = Served::start().await;
    *served.patient.alive.lock().unwrap() = Err("the actor reconciler is dead".into());
    *served.patient.readiness.lock().unwrap() = Readiness {
        ready: false,
        reasons: vec!["10.0.0.1:22 does not answer".into()],
        fields: [("holds".to_owned(), Value::from(2))].into_iter().collect(),
    };
    assert_eq!(served.get("/livez").await, (503, "the actor reconciler is dead\n".into()));
    let (status, body) = served.get("/readyz").await;
    let body: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(status, 503);
    assert_eq!(body["reasons"][0], "10.0.0.1:22 does not answer");
    assert_eq!(body["fields"]["holds"], 2);
}

#[tokio::test]
async fn only_reading_is_allowed() {
    let served = Served::start().await;
    let answer =
        served.send("POST /livez HTTP/1.1\r\nhost: test\r\ncontent-length: 0\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 405 ") && answer.contains("GET, HEAD"), "{answer}");
    let answer = served.send("HEAD /livez HTTP/1.1\r\nhost: test\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("\r\n\r\n"), "{answer}");
    let answer = served.send("\u{1}\u{2} nonsense\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
}

#[tokio::test]
async fn silent_clients_beyond_the_bound_delay_a_probe_by_their_deadline_only() {
    let served = Served::start().await;
    let mut silent = Vec::new();
    for _ in 0..CONNECTIONS_MAX {
        let mut stream = TcpStream::connect(served.address).await.unwrap();
        stream.write_all(b"GET /livez HTTP/1.1\r\nx-slow: ").await.unwrap();
        silent.push(stream);
    }
    let asked = Instant::now();
    assert_eq!(served.get("/livez").await.0, 200);
    // All places were taken, so the answer had to wait for one of them.
    assert!(asked.elapsed() > HEAD_DEADLINE / 2, "{:?}", asked.elapsed());
    assert!(asked.elapsed() < CONNECTION_DEADLINE, "{:?}", asked.elapsed());
}

#[tokio::test]
async fn shutdown_ends_idle_clients_and_the_listener() {
    let served = Served::start().await;
    let idle = TcpStream::connect(served.address).await.unwrap();
    assert_eq!(served.get("/livez").await.0, 200); // so the idle one was accepted before
    served.shutdown.cancel();
    timeout(HEAD_DEADLINE, served.task).await.unwrap().unwrap();
    assert!(TcpStream::connect(served.address).await.is_err());
    drop(idle);
}

#[tokio::test]
async fn an_agent_answers_challenges_only_where_there_is_one_and_not_too_often() {
    let served = Served::start().await;
    assert_eq!(served.get("/agent?challenge=1f").await.0, 404);
    served.patient.has_agent.store(true, Ordering::Relaxed);
    assert_eq!(served.get("/agent?challenge=1f").await, (200, "1f".into()));
    assert_eq!(served.get("/agent").await.0, 400);
    assert_eq!(served.get("/agent?challenge=odd").await, (400, "is odd\n".into()));
    assert_eq!(served.get("/agent?challenge=mute").await, (503, "has no Secret\n".into()));
    let mut answers = Vec::new();
    for _ in 0..500 {
        answers.push(served.get("/agent?challenge=1f").await.0);
        if answers.contains(&429) {
            break;
        }
    }
    assert!(answers.contains(&429), "{} answers", answers.len());
    assert_eq!(served.get("/livez").await.0, 200, "nothing else is bounded by it");
}
