//! Bad input through the socket: a clear INVALID_ARGUMENT that names the field, and nothing sent to
//! the box.

#![expect(clippy::unwrap_used, reason = "a test: a panic is its answer")]

#[expect(dead_code, reason = "only bad requests are made here")]
#[path = "support/csi.rs"]
mod csi;
#[expect(dead_code, reason = "how the process fares is not looked at here")]
#[path = "support/daemon.rs"]
mod daemon;
#[path = "support/raw.rs"]
mod raw;
#[path = "support/surroundings.rs"]
mod surroundings;

#[path = "bad_input/fields.rs"]
mod fields;

use prost::Message as _;
use rds_csi::grpc::csi as pb;
use tonic::{Code, Status};

use crate::csi::{Csi, create, file_system};
use crate::daemon::Daemon;
use crate::fields::{Field, every_string_field, expand, publish, validate};
use crate::surroundings::Surroundings;

/// A controller that is at rest: nothing reaches the box any more but polls.
struct AtRest {
    around: Surroundings,
    daemon: Daemon,
    csi: Csi,
    commands: usize,
}

impl AtRest {
    async fn start() -> Self {
        let mut around = Surroundings::start(&["main"]).await;
        around.tables = around.tables.replace("grace", "interval = \"1h\"\ngrace");
        let (daemon, csi) = around.ready().await;
        for cause in ["startup", "reconnected"] {
            let because =
                |record: &serde_json::Value| record["causes"].as_str().unwrap().contains(cause);
            daemon.logged("pass ended", because).await;
        }
        // What is asked for exists, so that a request which were let through would be carried out.
        around.provision(&csi, "pvc-1", &[]).await;
        let commands = around.main().commands().len();
        Self { around, daemon, csi, commands }
    }

    /// Is this refusal what it should be?
    fn refused(&self, field: &str, what: &str, answer: Result<(), Status>) {
        let status = answer.expect_err(&format!("{field}: {what} was let through"));
        let text = status.message();
        assert_eq!(status.code(), Code::InvalidArgument, "{field}: {what}: {text}");
        assert!(text.contains(field), "{field}: {what}: {text}");
        assert!(!text.chars().any(char::is_control), "{field}: {what}: {text:?}");
    }

    async fn call(&self, method: &str, bytes: Vec<u8>) -> Result<(), Status> {
        raw::call(self.csi.channel.clone(), method, bytes).await
    }

    /// Nothing was sent. A good request afterwards shows that something would have been seen.
    async fn end(self) {
        let seen = self.around.main().commands();
        assert_eq!(seen.len(), self.commands, "{:#?}", &seen[self.commands..]);
        self.around.provision(&self.csi, "pvc-2", &[]).await;
        assert!(self.around.main().commands().len() > self.commands);
        assert_eq!(self.daemon.metric("rds_csi_actor_restarts_total", "").await, 0.0);
        self.daemon.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_characters_in_every_string_field_are_refused() {
    let world = AtRest::start().await;
    for Field { name, method, encode } in every_string_field() {
        for bad in ["\"", "$", ";", "\n", "a\";/system/reset-configuration;#", "$(reboot)\r\n"] {
            let answer = world.call(method, encode(bad)).await;
            world.refused(name, bad, answer);
        }
    }
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_that_are_no_utf8_are_refused_in_every_string_field() {
    const PLACE: &str = "ZZZZ";
    const BAD: [&[u8; 4]; 3] = [b"a\xff\xfeb", b"\xc0\xaf\xc0\xaf", b"\xed\xa0\x80a"];
    let world = AtRest::start().await;
    for Field { name, method, encode } in every_string_field() {
        let good = encode(PLACE);
        let at = good.windows(4).position(|four| four == PLACE.as_bytes()).unwrap();
        for bad in BAD {
            let mut bytes = good.clone();
            bytes[at..at + 4].copy_from_slice(bad);
            let answer = world.call(method, bytes).await;
            // Maps and nested messages are named as a whole.
            let field = name.split(['[', '.', ' ']).next().unwrap();
            world.refused(field, &format!("{bad:?}"), answer);
        }
    }
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn overlong_ids_and_what_is_cut_off_are_refused() {
    let world = AtRest::start().await;
    for Field { name, method, encode } in every_string_field() {
        let ids = ["name", "volume_id", "node_id"].contains(&name);
        let answer = world.call(method, encode(&"a".repeat(if ids { 300 } else { 5000 }))).await;
        world.refused(name.split(['[', ' ']).next().unwrap(), "overlong", answer);
    }
    for method in ["CreateVolume", "ControllerPublishVolume"] {
        let whole = create("pvc-9", &[]).encode_to_vec();
        let answer = world.call(method, whole[..whole.len() - 1].to_vec()).await;
        assert_eq!(answer.unwrap_err().code(), Code::InvalidArgument, "{method}");
    }
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn missing_and_unknown_values_and_impossible_sizes_are_refused() {
    let world = AtRest::start().await;
    let range =
        |required_bytes, limit_bytes| Some(pb::CapacityRange { required_bytes, limit_bytes });
    let sized = |required, limit| {
        let capacity_range = range(required, limit);
        pb::CreateVolumeRequest { capacity_range, ..create("pvc-9", &[]) }.encode_to_vec()
    };
    let grown = |required, limit| {
        let capacity_range = range(required, limit);
        pb::ControllerExpandVolumeRequest { capacity_range, ..expand() }.encode_to_vec()
    };
    let (required, limit) = ("capacity_range.required_bytes", "capacity_range.limit_bytes");
    let none = pb::CreateVolumeRequest { volume_capabilities: vec![], ..create("pvc-9", &[]) };
    let many = pb::CreateVolumeRequest {
        volume_capabilities: vec![file_system(); 100],
        ..create("pvc-9", &[])
    };
    let nobody = pb::ControllerPublishVolumeRequest { node_id: String::new(), ..publish() };
    let anyhow = pb::ControllerPublishVolumeRequest { volume_capability: None, ..publish() };
    let nothing =
        pb::ValidateVolumeCapabilitiesRequest { volume_capabilities: vec![], ..validate() };
    let negative = pb::ListVolumesRequest { max_entries: -1, ..Default::default() };
    let create_volume = "CreateVolume";
    let grow = "ControllerExpandVolume";
    let cases = [
        (create_volume, "name", create("", &[]).encode_to_vec()),
        (create_volume, "parameters", create("a", &[("no-such", "1")]).encode_to_vec()),
        (create_volume, "parameters[backend]", create("a", &[("backend", "x")]).encode_to_vec()),
        (create_volume, "volume_capabilities", none.encode_to_vec()),
        (create_volume, "volume_capabilities", many.encode_to_vec()),
        (create_volume, required, sized(-1, 0)),
        (create_volume, limit, sized(0, -1)),
        (create_volume, required, sized(i64::MIN, 0)),
        (create_volume, required, sized(i64::MAX, 0)),
        (create_volume, limit, sized(2 << 30, 1 << 30)),
        (grow, required, grown(-1, 0)),
        (grow, required, grown(0, 0)),
        (grow, required, grown(i64::MAX, i64::MAX)),
        ("DeleteVolume", "volume_id", pb::DeleteVolumeRequest::default().encode_to_vec()),
        ("ControllerPublishVolume", "node_id", nobody.encode_to_vec()),
        ("ControllerPublishVolume", "volume_capability", anyhow.encode_to_vec()),
        ("ValidateVolumeCapabilities", "volume_capabilities", nothing.encode_to_vec()),
        ("ListVolumes", "max_entries", negative.encode_to_vec()),
    ];
    for (method, field, bytes) in cases {
        let answer = world.call(method, bytes).await;
        world.refused(field, method, answer);
    }
    world.end().await;
}
