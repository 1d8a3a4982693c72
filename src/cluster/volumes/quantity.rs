//! The Kubernetes Quantity, as far as it says how many bytes.

/// Longest text that is read, in bytes; canonical ones have at most 20.
const LENGTH_MAX: usize = 48;

/// The bytes that `text` says; a fraction of a byte is rounded up, as Kubernetes does.
///
/// Forms (Kubernetes API reference, Quantity): a decimal number, then nothing, `Ki Mi Gi Ti Pi
/// Ei`, `n u m k M G T P E`, or a decimal exponent (`e3`, `E+3`).
///
/// # Errors
/// What is wrong, in words.
pub fn bytes(text: &str) -> Result<u64, String> {
    let refuse = |what: &str| Err(format!("\"{}\" {what}", super::shortened(text)));
    if text.len() > LENGTH_MAX {
        return refuse("is too long for a quantity");
    }
    if text.starts_with('-') {
        return refuse("is negative");
    }
    let unsigned = text.strip_prefix('+').unwrap_or(text);
    let end = unsigned.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(unsigned.len());
    let (number, suffix) = unsigned.split_at(end);
    let Some((digits, decimals)) = decimal(number) else {
        return refuse("does not begin with a number");
    };
    let Some((factor, exponent)) = scale(suffix) else {
        return refuse("has a suffix that no quantity has");
    };
    match scaled(digits, factor, exponent - decimals) {
        Some(bytes) => Ok(bytes),
        None => refuse("is more than 16 EiB"),
    }
}

/// `12.50` is (1250, 2).
fn decimal(number: &str) -> Option<(u128, i32)> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if fraction.contains('.') || (whole.is_empty() && fraction.is_empty()) {
        return None;
    }
    // Zeros at the end say nothing and would make the number overflow.
    let fraction = fraction.trim_end_matches('0');
    let digits = format!("0{whole}{fraction}").parse().ok()?;
    Some((digits, i32::try_from(fraction.len()).ok()?))
}

/// What the suffix multiplies by: a factor and a power of ten.
fn scale(suffix: &str) -> Option<(u128, i32)> {
    let exponent = match suffix {
        "n" => -9,
        "u" => -6,
        "m" => -3,
        "" => 0,
        "k" => 3,
        "M" => 6,
        "G" => 9,
        "T" => 12,
        "P" => 15,
        "E" => 18,
        "Ki" => return Some((1 << 10, 0)),
        "Mi" => return Some((1 << 20, 0)),
        "Gi" => return Some((1 << 30, 0)),
        "Ti" => return Some((1 << 40, 0)),
        "Pi" => return Some((1 << 50, 0)),
        "Ei" => return Some((1 << 60, 0)),
        other => {
            let power = other.strip_prefix(['e', 'E'])?;
            let digits = power.strip_prefix(['+', '-']).unwrap_or(power);
            if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
                return None;
            }
            power.parse::<i32>().ok().filter(|p| p.abs() <= 1000)?
        }
    };
    Some((1, exponent))
}

fn scaled(digits: u128, factor: u128, exponent: i32) -> Option<u64> {
    let value = digits.checked_mul(factor)?;
    if value == 0 {
        return Some(0);
    }
    let power = 10u128.checked_pow(exponent.unsigned_abs());
    let exact = if exponent >= 0 {
        value.checked_mul(power?)?
    } else {
        // A divisor that does not fit is more than any value: less than one byte is left.
        power.map_or(1, |power| value.div_ceil(power))
    };
    u64::try_from(exact).ok()
}

#[cfg(test)]
mod test {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn every_form_of_a_quantity_gives_exact_bytes() {
        for (text, expected) in [
            ("0", 0),
            ("1", 1),
            ("+1", 1),
            ("1073741824", 1 << 30),
            ("1Ki", 1 << 10),
            ("1Mi", 1 << 20),
            ("1Gi", 1 << 30),
            ("1Ti", 1 << 40),
            ("1Pi", 1 << 50),
            ("15Ei", 15 << 60),
            ("1k", 1_000),
            ("1M", 1_000_000),
            ("1G", 1_000_000_000),
            ("1T", 1_000_000_000_000),
            ("1P", 1_000_000_000_000_000),
            ("1E", 1_000_000_000_000_000_000),
            ("1500Gi", 1500 << 30),
            ("1.5Gi", 3 << 29),
            (".5Ki", 512),
            ("5.Ki", 5120),
            ("1e3", 1000),
            ("1E3", 1000),
            ("1E+3", 1000),
            ("12e-1", 2),
            ("1.5e3", 1500),
            ("1500m", 2),
            ("128974848000m", 128_974_848),
            ("1u", 1),
            ("1n", 1),
            ("0.1", 1),
            ("0.00000000000000000000", 0),
            ("0e999", 0),
            ("1e-999", 1),
            ("1.00000000000000000000000000000000000Gi", 1 << 30),
            ("18446744073709551615", u64::MAX),
        ] {
            assert_eq!(bytes(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_is_no_quantity_is_refused_and_named() {
        for text in [
            "",
            " ",
            "Gi",
            ".",
            "1.2.3",
            "-1",
            "-0",
            "1 Gi",
            "1GiB",
            "1Kib",
            "1K",
            "1g",
            "1e",
            "1E+",
            "1e1.5",
            "1e3Ki",
            "0x10",
            "1_000",
            "١",
            "++1",
            "1e99999999999",
        ] {
            let refused = bytes(text).expect_err(text);
            assert!(refused.contains(text), "{refused}");
        }
    }

    #[test]
    fn what_does_not_fit_is_refused_instead_of_wrapping() {
        for text in ["16Ei", "18446744073709551616", "1e20", "19E", "1e1000"] {
            assert!(bytes(text).is_err(), "{text}");
        }
        let long = "9".repeat(LENGTH_MAX);
        assert!(bytes(&long).is_err());
        assert!(bytes(&format!("{long}9")).is_err());
    }

    proptest! {
        #[test]
        fn whole_numbers_are_read_as_they_are(number: u64) {
            prop_assert_eq!(bytes(&number.to_string()), Ok(number));
        }

        #[test]
        fn no_text_makes_it_panic(text in "\\PC{0,60}") {
            let _ = bytes(&text);
        }

        #[test]
        fn no_text_that_looks_like_a_quantity_makes_it_panic(text in "[+-]?[0-9.]{0,40}[a-zA-Z0-9+-]{0,6}") {
            let _ = bytes(&text);
        }
    }
}
