//! Looks at metrics and health as Prometheus and kubelet do: one HTTP request each.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::world::Trouble;

/// Longest wait for an answer that needs nobody.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// What came back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The status code.
    pub code: u16,
    /// The body.
    pub body: String,
}

/// GET of a path; the answer must come within 5 s.
pub async fn get(address: SocketAddr, path: &str) -> Result<Answer, Trouble> {
    let request = format!("GET {path} HTTP/1.1\r\nHost: sandbox\r\n\r\n");
    let exchange = async {
        let mut stream = TcpStream::connect(address).await?;
        stream.write_all(request.as_bytes()).await?;
        let mut text = String::new();
        stream.read_to_string(&mut text).await?;
        Ok::<_, std::io::Error>(text)
    };
    let text = timeout(ANSWER_WITHIN, exchange).await??;
    parse(&text).ok_or_else(|| format!("no HTTP answer: {text:?}").into())
}

fn parse(text: &str) -> Option<Answer> {
    let (head, body) = text.split_once("\r\n\r\n")?;
    let code = head.split(' ').nth(1)?.parse().ok()?;
    Some(Answer { code, body: body.to_owned() })
}

/// The sum of all samples of this name that have these labels, whatever others they have; `None`
/// where there is no such sample.
pub fn sample(exposition: &str, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
    let of_it = |line: &&str| {
        let rest = line.strip_prefix(name).unwrap_or_default();
        let has = |(key, value): &(&str, &str)| line.contains(&format!("{key}=\"{value}\""));
        rest.starts_with(['{', ' ']) && labels.iter().all(has)
    };
    let value = |line: &str| line.rsplit(' ').next().and_then(|value| value.parse::<f64>().ok());
    let values = exposition.lines().filter(of_it).filter_map(value);
    values.fold(None, |sum, value| Some(sum.unwrap_or(0.0) + value))
}

#[cfg(test)]
mod test {
    use super::*;

    #[test]
    fn samples_are_found_by_whole_name_and_labels_and_added_up() {
        let text =
            "# HELP a help\n# TYPE a counter\na{x=\"1\",y=\"2\"} 3\na{x=\"2\"} 4\na_b 9\nc 0.5\n";
        assert_eq!(sample(text, "a", &[]), Some(7.0));
        assert_eq!(sample(text, "a", &[("x", "1")]), Some(3.0));
        assert_eq!(sample(text, "a", &[("x", "3")]), None);
        assert_eq!(sample(text, "c", &[]), Some(0.5));
        assert_eq!(sample(text, "b", &[]), None);
    }

    #[test]
    fn an_answer_has_a_code_and_a_body() {
        let answer = parse("HTTP/1.1 503 Service Unavailable\r\na: b\r\n\r\nwhy\n").unwrap();
        assert_eq!((answer.code, answer.body.as_str()), (503, "why\n"));
        assert_eq!(parse("nonsense"), None);
    }
}
