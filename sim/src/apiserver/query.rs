//! The query string of a request, decoded.

use std::collections::BTreeMap;

use super::failure::Failure;

/// The parameters of one request; the last of several equal names counts.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Query(BTreeMap<String, String>);

impl Query {
    /// Parses what follows the `?`.
    ///
    /// # Errors
    ///
    /// 400 for percent signs and bytes that do not decode to text.
    pub fn parse(text: &str) -> Result<Self, Failure> {
        let pairs = text.split('&').filter(|pair| !pair.is_empty());
        pairs
            .map(|pair| {
                let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
                Ok((decode(name, true)?, decode(value, true)?))
            })
            .collect::<Result<_, _>>()
            .map(Self)
    }

    /// A parameter; empty when it is missing.
    pub fn text(&self, name: &str) -> &str {
        self.0.get(name).map(String::as_str).unwrap_or_default()
    }

    /// Whether a parameter says true.
    ///
    /// # Errors
    ///
    /// 400 for what is neither true nor false.
    pub fn flag(&self, name: &str) -> Result<bool, Failure> {
        match self.text(name) {
            "" | "false" | "0" | "False" => Ok(false),
            "true" | "1" | "True" => Ok(true),
            other => Err(Failure::bad_request(format!("{name}: {other:?} is not a boolean"))),
        }
    }

    /// A parameter that is a number, if it is there.
    ///
    /// # Errors
    ///
    /// 400 for what is no number.
    pub fn number(&self, name: &str) -> Result<Option<u64>, Failure> {
        match self.text(name) {
            "" => Ok(None),
            text => text
                .parse()
                .map(Some)
                .map_err(|_| Failure::bad_request(format!("{name}: Invalid value: {text:?}"))),
        }
    }
}

/// Undoes percent encoding; in a query a plus is a space.
///
/// # Errors
///
/// 400 for a broken escape and for bytes that are not UTF-8.
pub fn decode(text: &str, plus_is_space: bool) -> Result<String, Failure> {
    let broken = || Failure::bad_request(format!("malformed percent encoding: {text:?}"));
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        match byte {
            b'%' => {
                let mut digit =
                    || rest.next().and_then(|b| char::from(b).to_digit(16)).ok_or_else(broken);
                let value = digit()? * 16 + digit()?;
                bytes.push(u8::try_from(value).map_err(|_| broken())?);
            }
            b'+' if plus_is_space => bytes.push(b' '),
            other => bytes.push(other),
        }
    }
    String::from_utf8(bytes).map_err(|_| broken())
}

#[cfg(test)]
mod test {
    use super::*;

    #[test]
    fn parameters_are_decoded() {
        let query = Query::parse("&labelSelector=a%3Db%2Cc&x=1+2&watch=true&limit=5").unwrap();
        assert_eq!(query.text("labelSelector"), "a=b,c");
        assert_eq!(query.text("x"), "1 2");
        assert_eq!(query.text("nothing"), "");
        assert!(query.flag("watch").unwrap());
        assert_eq!(query.number("limit").unwrap(), Some(5));
        assert_eq!(query.number("nothing").unwrap(), None);
    }

    #[test]
    fn what_does_not_decode_is_a_bad_request() {
        for text in ["a=%", "a=%2", "a=%zz", "a=%ff"] {
            assert_eq!(Query::parse(text).unwrap_err().code, 400, "{text}");
        }
        assert!(Query::parse("limit=-1").unwrap().number("limit").is_err());
        assert!(Query::parse("watch=maybe").unwrap().flag("watch").is_err());
    }
}
