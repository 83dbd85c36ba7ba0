//! What would these tokens cost?
//!
//! Prices change and differ by contract, so none are known here: who asks brings them, as a JSON object of models with US dollars for a
//! million tokens of each kind. They are applied to sums, never kept in a state.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::fold::ledger::Spent;

/// US dollars for a million tokens of each kind, as [`Usage`](crate::Usage) divides them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Price {
    /// Read, and in no cache.
    pub input: f64,
    /// Read and put into a cache; as `input` where it is not said.
    #[serde(default)]
    pub cache_write: Option<f64>,
    /// Read from a cache; as `input` where it is not said.
    #[serde(default)]
    pub cache_read: Option<f64>,
    /// Written.
    pub output: f64,
}

/// Prices by model.
///
/// ```
/// use treering_agent::Prices;
///
/// let prices: Prices = serde_json::from_str(r#"{"m-1":{"input":3.0,"cache_read":0.3,"output":15.0}}"#)?;
/// # let spent = treering_agent::Spent { model: Some("m-1".into()), ..Default::default() };
/// assert_eq!(prices.cost_nano_usd(&spent), Some(0));
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Prices {
    models: BTreeMap<String, Price>,
}

impl Prices {
    /// What the tokens of this model cost, in billionths of a US dollar; `None` where the model has no price, or one that is no
    /// amount of money.
    #[must_use]
    pub fn cost_nano_usd(&self, spent: &Spent) -> Option<u64> {
        let price = self.models.get(spent.model.as_deref()?)?;
        let numbers = &spent.numbers;
        // A dollar for a million is a thousand billionths for one.
        let of = |tokens: u64, price: f64| tokens as f64 * price * 1e3;
        let cost = of(numbers.input, price.input)
            + of(numbers.cache_write, price.cache_write.unwrap_or(price.input))
            + of(numbers.cache_read, price.cache_read.unwrap_or(price.input))
            + of(numbers.output, price.output);
        (0.0..1e18).contains(&cost).then(|| cost.round() as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fold::ledger::Numbers;

    #[test]
    fn each_kind_of_token_has_its_price() {
        let numbers =
            Numbers { input: 1, cache_write: 10, cache_read: 100, output: 1_000, reasoning: 900, cost_nano_usd: 0 };
        let spent = |model: Option<&str>| Spent { model: model.map(str::to_owned), numbers, ..Spent::default() };
        let prices = |text: &str| serde_json::from_str::<Prices>(text);
        let some = prices(r#"{"m":{"input":3,"cache_write":3.75,"cache_read":0.3,"output":15},"n":{"input":2,"output":0},"odd":{"input":-1,"output":0}}"#).unwrap();
        assert_eq!(some.cost_nano_usd(&spent(Some("m"))), Some(3_000 + 37_500 + 30_000 + 15_000_000));
        assert_eq!(some.cost_nano_usd(&spent(Some("n"))), Some(111 * 2_000), "what is not said costs as input");
        for model in [None, Some("other"), Some("odd")] {
            assert_eq!(some.cost_nano_usd(&spent(model)), None);
        }
        for bad in ["[]", r#"{"m":{"output":1}}"#, r#"{"m":{"input":1,"output":1,"ouput":1}}"#, r#"{"m":3}"#] {
            assert!(prices(bad).is_err(), "{bad}");
        }
    }
}
