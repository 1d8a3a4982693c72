//! The words of `/dev/nvme-fabrics`: what is written to connect, and what the kernel answers.
//!
//! Source: `nvmf_parse_options` and `nvmf_dev_write` in `drivers/nvme/host/fabrics.c`, Linux 6.1 and
//! 6.12. Options are separated by commas or newlines and know no quoting, so that a value with one
//! of them would set options of its own.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use rustix::io::Errno;

use super::{Connect, Error, Kind, Timing};

/// The text that connects to `wanted` at this address.
///
/// # Errors
/// [`Kind::Refused`]: a value that cannot stand in it.
pub fn options(wanted: &Connect, address: SocketAddr) -> Result<String, Error> {
    let mut text = String::new();
    let mut put = |key: &str, value: &str| {
        let bad = |c: char| c == ',' || c.is_whitespace() || c.is_control();
        if value.is_empty() || value.chars().any(bad) {
            let why = format!("{key} cannot be given to the kernel: {}", value.escape_debug());
            return Err(Error::new(Kind::Refused, why));
        }
        if !text.is_empty() {
            text.push(',');
        }
        text.push_str(key);
        text.push('=');
        text.push_str(value);
        Ok(())
    };
    put("transport", "tcp")?;
    put("nqn", wanted.nqn.as_str())?;
    put("traddr", &ip(address))?;
    put("trsvcid", &address.port().to_string())?;
    put("hostnqn", wanted.host_nqn.as_str())?;
    put("hostid", &wanted.host_id)?;
    for (key, value) in timing(&wanted.timing)? {
        put(key, &value)?;
    }
    Ok(text)
}

fn ip(address: SocketAddr) -> String {
    match address {
        SocketAddr::V6(v6) if v6.scope_id() != 0 => format!("{}%{}", v6.ip(), v6.scope_id()),
        other => other.ip().to_string(),
    }
}

fn timing(timing: &Timing) -> Result<Vec<(&'static str, String)>, Error> {
    let at_least_one = |key: &str, time: Duration| match seconds(time) {
        0 => Err(Error::new(Kind::Refused, format!("{key} must be at least one second"))),
        seconds => Ok(seconds.to_string()),
    };
    // The kernel takes minus one for "never give up", and fails I/O never where the other is left
    // away.
    let ctrl_loss = timing.ctrl_loss.map_or("-1".into(), |time| seconds(time).to_string());
    let mut options = vec![
        ("ctrl_loss_tmo", ctrl_loss),
        ("reconnect_delay", at_least_one("reconnect_delay", timing.reconnect_delay)?),
        ("keep_alive_tmo", at_least_one("keep_alive_tmo", timing.keep_alive)?),
    ];
    if let Some(time) = timing.fast_io_fail {
        options.push(("fast_io_fail_tmo", seconds(time).to_string()));
    }
    match timing.io_queues {
        Some(0) => {
            return Err(Error::new(Kind::Refused, "nr_io_queues must be at least one"));
        }
        Some(queues) => options.push(("nr_io_queues", queues.to_string())),
        None => {}
    }
    Ok(options)
}

/// Whole seconds, never shorter than asked, within what the kernel reads (a signed 32 bit number).
fn seconds(time: Duration) -> u64 {
    let begun = u64::from(time.subsec_nanos() > 0);
    time.as_secs().saturating_add(begun).min(i32::MAX as u64)
}

/// The name of the controller that the kernel made: what is read from the file that was written.
pub fn controller(answer: &str) -> Option<String> {
    let instance = answer.trim().split(',').find_map(|word| word.strip_prefix("instance="))?;
    let number: u32 = instance.parse().ok()?;
    Some(format!("nvme{number}"))
}

/// What the kernel's refusal of a connection means; `None`: exactly this connection exists already.
pub fn refusal(wanted: &Connect, error: io::Error, has_tcp: bool) -> Option<Error> {
    let Connect { nqn, address, port, .. } = wanted;
    let (kind, why) = match Errno::from_io_error(&error) {
        // The same subsystem, host and address, and not being deleted (nvmf_ip_options_match).
        Some(Errno::ALREADY) => return None,
        // Every status of NVMe itself becomes EIO (nvme_tcp_create_ctrl).
        Some(Errno::IO) => (
            Kind::Failed,
            "the box refused it: the subsystem is not exported, or not to this host (the kernel's \
             log has the status)",
        ),
        Some(Errno::CONNREFUSED) => (Kind::Failed, "nothing listens there"),
        Some(Errno::TIMEDOUT | Errno::HOSTUNREACH | Errno::NETUNREACH | Errno::HOSTDOWN) => {
            (Kind::Failed, "no answer from there")
        }
        Some(Errno::INVAL) if !has_tcp => (Kind::Missing, super::module::HOW),
        Some(Errno::INVAL) => (
            Kind::Refused,
            "the kernel refused the options, or another host NQN is in use here with this host id \
             (the kernel's log says which)",
        ),
        _ => (super::kind::of(&error), "the kernel did not connect"),
    };
    let what = format!("cannot connect to {nqn} at {address}, port {port}: {why}");
    Some(Error { kind, what, source: Some(error) })
}

#[cfg(test)]
mod test {
    use proptest::prelude::*;

    use super::*;
    use crate::volume::Nqn;

    fn wanted() -> Connect {
        Connect {
            nqn: Nqn::parse("nqn.2000-02.com.mikrotik:pvc-1.g3-abc").unwrap(),
            address: "box.example".into(),
            port: 4420,
            host_nqn: Nqn::parse("nqn.2014-08.org.nvmexpress:uuid:1b4e28ba").unwrap(),
            host_id: "1b4e28ba-2fa1-11d2-883f-0016d3cca427".into(),
            timing: Timing {
                ctrl_loss: None,
                reconnect_delay: Duration::from_secs(10),
                keep_alive: Duration::from_millis(4500),
                fast_io_fail: None,
                io_queues: None,
            },
        }
    }

    fn at() -> SocketAddr {
        "10.0.0.1:4420".parse().unwrap()
    }

    #[test]
    fn what_is_not_asked_for_is_not_written_and_never_is_minus_one() {
        assert_eq!(
            options(&wanted(), at()).unwrap(),
            "transport=tcp,nqn=nqn.2000-02.com.mikrotik:pvc-1.g3-abc,traddr=10.0.0.1,trsvcid=4420,\
             hostnqn=nqn.2014-08.org.nvmexpress:uuid:1b4e28ba,\
             hostid=1b4e28ba-2fa1-11d2-883f-0016d3cca427,\
             ctrl_loss_tmo=-1,reconnect_delay=10,keep_alive_tmo=5"
        );
    }

    #[test]
    fn every_time_and_the_number_of_queues_can_be_set() {
        let mut wanted = wanted();
        wanted.timing.ctrl_loss = Some(Duration::from_secs(600));
        wanted.timing.fast_io_fail = Some(Duration::ZERO);
        wanted.timing.io_queues = Some(4);
        let text = options(&wanted, "[fe80::1]:4421".parse().unwrap()).unwrap();
        assert!(text.contains(",traddr=fe80::1,trsvcid=4421,"), "{text}");
        assert!(text.contains(",ctrl_loss_tmo=600,"), "{text}");
        assert!(text.ends_with(",fast_io_fail_tmo=0,nr_io_queues=4"), "{text}");
    }

    #[test]
    fn a_link_local_address_keeps_its_interface() {
        let scoped = std::net::SocketAddrV6::new("fe80::1".parse().unwrap(), 4420, 0, 3);
        let text = options(&wanted(), scoped.into()).unwrap();
        assert!(text.contains(",traddr=fe80::1%3,"), "{text}");
    }

    #[test]
    fn a_time_of_nothing_is_refused_where_the_kernel_would_spin() {
        let mut wanted = wanted();
        wanted.timing.reconnect_delay = Duration::ZERO;
        let refused = options(&wanted, at()).unwrap_err();
        assert_eq!(refused.kind, Kind::Refused);
        assert!(refused.what.contains("reconnect_delay"), "{refused}");
        wanted.timing.reconnect_delay = Duration::from_millis(1);
        wanted.timing.io_queues = Some(0);
        assert!(options(&wanted, at()).unwrap_err().what.contains("nr_io_queues"));
    }

    proptest! {
        #[test]
        fn no_value_sets_an_option_of_its_own(id in "[a-f0-9,=\\n\\t %-]{0,20}") {
            let mut wanted = wanted();
            wanted.host_id = id.clone();
            match options(&wanted, at()) {
                Ok(text) => {
                    let keys: Vec<&str> =
                        text.split([',', '\n']).map(|it| it.split('=').next().unwrap()).collect();
                    prop_assert_eq!(keys, ["transport", "nqn", "traddr", "trsvcid", "hostnqn",
                        "hostid", "ctrl_loss_tmo", "reconnect_delay", "keep_alive_tmo"]);
                    prop_assert!(!id.contains(',') && !id.contains('\n') && !id.is_empty());
                }
                Err(refused) => prop_assert_eq!(refused.kind, Kind::Refused),
            }
        }
    }

    #[test]
    fn the_kernels_answer_names_the_controller() {
        assert_eq!(controller("instance=3,cntlid=1\n").as_deref(), Some("nvme3"));
        assert_eq!(controller("cntlid=1,instance=12").as_deref(), Some("nvme12"));
        for odd in ["", "instance=", "instance=-1,cntlid=-1", "instance=x", "cntlid=1"] {
            assert_eq!(controller(odd), None, "{odd}");
        }
    }

    #[test]
    fn a_refusal_says_what_it_means_for_whoever_asked() {
        let kind = |errno: Errno, has_tcp| {
            refusal(&wanted(), errno.into(), has_tcp).map(|error| error.kind)
        };
        assert_eq!(kind(Errno::ALREADY, true), None);
        assert_eq!(kind(Errno::IO, true), Some(Kind::Failed));
        assert_eq!(kind(Errno::CONNREFUSED, true), Some(Kind::Failed));
        assert_eq!(kind(Errno::INVAL, true), Some(Kind::Refused));
        assert_eq!(kind(Errno::INVAL, false), Some(Kind::Missing));
        let error = refusal(&wanted(), Errno::INVAL.into(), false).unwrap();
        assert!(error.what.contains("modprobe nvme-tcp"), "{error}");
        assert!(error.what.contains("pvc-1.g3-abc at box.example, port 4420"), "{error}");
    }
}
