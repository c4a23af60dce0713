//! What a server answered, as KEDA takes it: one element of one vector, or a sentence that says why not.

use serde_json::Value;

/// An answer that is no one number. The sentences are KEDA's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refused {
    /// No JSON of the form Prometheus answers with.
    #[error("the answer is none of Prometheus' query API: {reason}")]
    Form {
        /// What is wrong with it.
        reason: String,
    },
    /// A bare number.
    #[error("{query} is a bare number, which KEDA refuses; wrap it in vector()")]
    Scalar {
        /// The query.
        query: String,
    },
    /// Several series.
    #[error(
        "prometheus query {query} returned multiple elements; sum them, or name labels until one is left"
    )]
    Several {
        /// The query.
        query: String,
    },
    /// Not both a time and a number.
    #[error("prometheus query {query} didn't return enough values")]
    Short {
        /// The query.
        query: String,
    },
    /// No finite number, where `ignoreNullValues` is off.
    #[error("prometheus query returns {text}")]
    NotFinite {
        /// `NaN`, `+Inf` or `-Inf`.
        text: String,
    },
}

/// The number in the body of an answer. `None` for an empty one, and with `ignore_null_values` for one
/// that is not finite: the manifest says what that counts as.
///
/// # Errors
/// As [`Refused`] lists.
pub fn read(body: &[u8], query: &str, ignore_null_values: bool) -> Result<Option<f64>, Refused> {
    let form = |reason: &str| Refused::Form { reason: reason.to_owned() };
    let answer: Value =
        serde_json::from_slice(body).map_err(|error| Refused::Form { reason: error.to_string() })?;
    if answer["status"] != "success" {
        return Err(form("its status is not success"));
    }
    let data = &answer["data"];
    match data["resultType"].as_str() {
        Some("vector") => {}
        Some("scalar") => return Err(Refused::Scalar { query: query.to_owned() }),
        _ => return Err(form("its result is no instant vector")),
    }
    let element = match data["result"].as_array().map(Vec::as_slice) {
        None | Some([]) => return Ok(None),
        Some([element]) => element,
        Some(_) => return Err(Refused::Several { query: query.to_owned() }),
    };
    match element["value"].as_array().map(Vec::as_slice) {
        None | Some([]) => Ok(None),
        Some([_]) => Err(Refused::Short { query: query.to_owned() }),
        // KEDA publishes what is null as 0.
        Some([_, Value::Null, ..]) => Ok(Some(0.0)),
        Some([_, Value::String(text), ..]) => {
            let value: f64 = text.parse().map_err(|_| form("its value is no number"))?;
            match value.is_finite() {
                true => Ok(Some(value)),
                false if ignore_null_values => Ok(None),
                false => Err(Refused::NotFinite { text: text.clone() }),
            }
        }
        Some(_) => Err(form("its value is no text")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vector(result: &str) -> String {
        format!("{{\"status\":\"success\",\"data\":{{\"resultType\":\"vector\",\"result\":{result}}}}}")
    }

    fn both(result: &str) -> [Result<Option<f64>, Refused>; 2] {
        [true, false].map(|ignore| read(vector(result).as_bytes(), "up", ignore))
    }

    fn refused(sentence: &str) -> impl Fn(&Result<Option<f64>, Refused>) -> bool {
        move |result| matches!(result, Err(refused) if refused.to_string().contains(sentence))
    }

    #[test]
    fn one_element_is_its_number() {
        assert_eq!(both(r#"[{"metric":{},"value":[1.5,"12.25"]}]"#), [Ok(Some(12.25)), Ok(Some(12.25))]);
        assert_eq!(both(r#"[{"metric":{},"value":[1.5,null]}]"#), [Ok(Some(0.0)), Ok(Some(0.0))]);
    }

    #[test]
    fn nothing_is_nothing_and_no_zero() {
        for empty in ["[]", r#"[{"metric":{},"value":[]}]"#] {
            assert_eq!(both(empty), [Ok(None), Ok(None)], "{empty}");
        }
    }

    #[test]
    fn what_is_not_finite_is_nothing_or_an_error() {
        for text in ["NaN", "+Inf", "-Inf"] {
            let [ignored, told] = both(&format!("[{{\"metric\":{{}},\"value\":[1,\"{text}\"]}}]"));
            assert_eq!(ignored, Ok(None), "{text}");
            assert!(refused(&format!("prometheus query returns {text}"))(&told), "{told:?}");
        }
    }

    #[test]
    fn what_is_not_one_number_is_told_in_kedas_words() {
        let one = r#"{"metric":{},"value":[1,"1"]}"#;
        assert!(
            both(&format!("[{one},{one}]"))
                .iter()
                .all(refused("prometheus query up returned multiple elements"))
        );
        assert!(both(r#"[{"metric":{},"value":[1]}]"#).iter().all(refused("didn't return enough values")));
        assert!(both(r#"[{"metric":{},"value":[1,"one"]}]"#).iter().all(refused("no number")));
        let scalar =
            read(br#"{"status":"success","data":{"resultType":"scalar","result":[1,"1"]}}"#, "1", true);
        assert!(refused("wrap it in vector()")(&scalar));
        for broken in ["", "<html>", r#"{"status":"error"}"#, r#"{"status":"success"}"#] {
            assert!(
                refused("none of Prometheus' query API")(&read(broken.as_bytes(), "up", true)),
                "{broken}"
            );
        }
    }
}
