//! Arithmetic, so that a model need not guess it.
//!
//! ```text
//! sum     = product (("+" | "-") product)*
//! product = signed (("*" | "/" | "%") signed)*
//! signed  = ("-" | "+") signed | power
//! power   = atom ("^" signed)?                  right-associative: 2^3^2 = 2^9, -2^2 = -4
//! atom    = number | constant | name "(" sum ("," sum)* ")" | "(" sum ")"
//! ```

use serde_json::{Value, json};

const LENGTH_MAX: usize = 1_000;
const DEPTH_MAX: usize = 50;

pub(super) fn definition() -> Value {
    json!({
        "name": "calculator", "version": "1.0.0", "effect": "pure", "endpoint": "builtin:calculator",
        "description": "Computes an arithmetic expression exactly as written. Operators + - * / % ^ and parentheses; functions sqrt, cbrt, abs, \
            round, floor, ceil, exp, ln, log2, log10, sin, cos, tan (radians), min, max; constants pi, e.",
        "parameters": {
            "type": "object", "additionalProperties": false, "required": ["expression"],
            "properties": {
                "expression": { "type": "string", "minLength": 1, "maxLength": LENGTH_MAX, "description": "For example (12.5 + 3) * 2^10" }
            }
        }
    })
}

pub(super) fn call(arguments: &Value) -> Result<Value, String> {
    let text = arguments.get("expression").and_then(Value::as_str).ok_or("expression is missing")?;
    let result = evaluate(text)?;
    // 15 digits are what a double holds for sure: 0.1 + 0.2 is 0.3.
    let rounded: f64 = format!("{result:.14e}").parse().map_err(|_| "the result is no number")?;
    let whole = rounded.fract() == 0.0 && rounded.abs() < 9_007_199_254_740_992.0;
    Ok(json!({ "result": if whole { json!(rounded as i64) } else { json!(rounded) } }))
}

fn evaluate(text: &str) -> Result<f64, String> {
    if text.len() > LENGTH_MAX {
        return Err(format!("the expression is longer than {LENGTH_MAX} characters"));
    }
    let mut reader = Reader { text, at: 0, depth: 0 };
    let result = reader.sum()?;
    match reader.peek() {
        Some(c) => Err(format!("`{c}` at character {} was not expected", reader.at + 1)),
        None if result.is_finite() => Ok(result),
        None if result.is_nan() => Err("the result is not defined".into()),
        None => Err("the result is too large, or a division by zero".into()),
    }
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
    depth: usize,
}

impl Reader<'_> {
    fn sum(&mut self) -> Result<f64, String> {
        let mut value = self.product()?;
        while let Some(operator) = self.take(&['+', '-', '−']) {
            let right = self.product()?;
            value = if operator == '+' { value + right } else { value - right };
        }
        Ok(value)
    }

    fn product(&mut self) -> Result<f64, String> {
        let mut value = self.signed()?;
        while let Some(operator) = self.take(&['*', '×', '·', '/', '÷', '%']) {
            let right = self.signed()?;
            value = match operator {
                '*' | '×' | '·' => value * right,
                '%' => value % right,
                _ => value / right,
            };
        }
        Ok(value)
    }

    fn signed(&mut self) -> Result<f64, String> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(format!("the expression nests deeper than {DEPTH_MAX}"));
        }
        let value = match self.take(&['-', '+', '−']) {
            Some('+') => self.signed()?,
            Some(_) => -self.signed()?,
            None => self.power()?,
        };
        self.depth -= 1;
        Ok(value)
    }

    fn power(&mut self) -> Result<f64, String> {
        let base = self.atom()?;
        if self.text[self.at..].trim_start().starts_with("**") {
            return Err("write ^ for a power".into());
        }
        Ok(if self.take(&['^']).is_some() { base.powf(self.signed()?) } else { base })
    }

    fn atom(&mut self) -> Result<f64, String> {
        match self.peek() {
            Some('(') => Ok(self.arguments()?.first().copied().unwrap_or(f64::NAN)),
            Some(c) if c.is_ascii_digit() || c == '.' => self.number(),
            Some(c) if c.is_ascii_alphabetic() => self.name(),
            Some(c) => Err(format!("`{c}` at character {} was not expected", self.at + 1)),
            None => Err("the expression ends too early".into()),
        }
    }

    fn number(&mut self) -> Result<f64, String> {
        let rest = &self.text[self.at..];
        let mut end = rest.find(|c: char| !c.is_ascii_digit() && c != '.' && c != '_').unwrap_or(rest.len());
        let exponent = &rest[end..];
        if exponent.starts_with(['e', 'E']) {
            let digits = exponent[1..].strip_prefix(['-', '+']).unwrap_or(&exponent[1..]);
            let count = digits.bytes().take_while(u8::is_ascii_digit).count();
            if count > 0 {
                end += exponent.len() - digits.len() + count;
            }
        }
        self.at += end;
        rest[..end].replace('_', "").parse().map_err(|_| format!("`{}` is no number", &rest[..end]))
    }

    fn name(&mut self) -> Result<f64, String> {
        let rest = &self.text[self.at..];
        let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
        let name = &rest[..end];
        self.at += end;
        if self.peek() != Some('(') {
            return match name {
                "pi" => Ok(std::f64::consts::PI),
                "e" => Ok(std::f64::consts::E),
                _ => Err(format!("`{name}` is no constant: there are pi and e")),
            };
        }
        let values = self.arguments()?;
        match (name, values.as_slice()) {
            ("min", many) => Ok(many.iter().copied().fold(f64::INFINITY, f64::min)),
            ("max", many) => Ok(many.iter().copied().fold(f64::NEG_INFINITY, f64::max)),
            (name, [x]) => function(name).map(|function| function(*x)).ok_or_else(|| format!("there is no function `{name}`")),
            (name, _) => Err(format!("`{name}` takes one value")),
        }
    }

    /// `(a, b, …)`, at least one.
    fn arguments(&mut self) -> Result<Vec<f64>, String> {
        self.take(&['(']);
        let mut values = vec![self.sum()?];
        while self.take(&[',']).is_some() {
            values.push(self.sum()?);
        }
        self.take(&[')']).ok_or("a `)` is missing")?;
        Ok(values)
    }

    fn peek(&mut self) -> Option<char> {
        let rest = &self.text[self.at..];
        self.at += rest.len() - rest.trim_start().len();
        self.text[self.at..].chars().next()
    }

    fn take(&mut self, any: &[char]) -> Option<char> {
        let next = self.peek().filter(|c| any.contains(c))?;
        self.at += next.len_utf8();
        Some(next)
    }
}

fn function(name: &str) -> Option<fn(f64) -> f64> {
    Some(match name {
        "sqrt" => f64::sqrt,
        "cbrt" => f64::cbrt,
        "abs" => f64::abs,
        "round" => f64::round,
        "floor" => f64::floor,
        "ceil" => f64::ceil,
        "exp" => f64::exp,
        "ln" => f64::ln,
        "log2" => f64::log2,
        "log10" => f64::log10,
        "sin" => f64::sin,
        "cos" => f64::cos,
        "tan" => f64::tan,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn result(expression: &str) -> Result<Value, String> {
        call(&json!({ "expression": expression })).map(|value| value["result"].clone())
    }

    #[test]
    fn expressions_come_out_as_on_paper() {
        for (expression, value) in [
            ("1 + 2 * 3", json!(7)),
            ("(1 + 2) * 3", json!(9)),
            ("0.1 + 0.2", json!(0.3)),
            ("2^3^2", json!(512)),
            ("-2^2", json!(-4)),
            ("2^-1", json!(0.5)),
            ("7 % 4 - 10 / 4", json!(0.5)),
            ("--3", json!(3)),
            ("1_000_000 * 1e3", json!(1_000_000_000)),
            ("1.5e-3", json!(0.0015)),
            ("sqrt(16) + abs(-3) + max(1, 2, 3) + min(4, 2)", json!(12)),
            ("round(pi * 100) / 10", json!(31.4)),
            ("ln(e)", json!(1)),
            ("6 × 7 ÷ 2 − 1", json!(20)),
            ("17 * 23", json!(391)),
        ] {
            assert_eq!(result(expression), Ok(value), "{expression}");
        }
    }

    #[test]
    fn what_is_no_expression_is_told_where() {
        for (expression, why) in [
            ("", "ends too early"),
            ("1 +", "ends too early"),
            ("2 $ 3", "`$` at character 3"),
            ("(1", "`)` is missing"),
            ("1 2", "`2` at character 3"),
            ("foo(1)", "no function `foo`"),
            ("x + 1", "`x` is no constant"),
            ("sqrt(1, 2)", "takes one value"),
            ("1/0", "division by zero"),
            ("sqrt(-1)", "not defined"),
            ("1.2.3", "no number"),
            ("2**3", "was not expected"),
        ] {
            let refused = result(expression).expect_err(expression);
            assert!(refused.contains(why) || (expression == "2**3" && refused.contains("^")), "{expression}: {refused}");
        }
        assert!(result(&"(".repeat(900)).is_err_and(|why| why.contains("deeper")));
        assert!(result(&"-".repeat(900)).is_err_and(|why| why.contains("deeper")));
        assert!(result(&"1+".repeat(600)).is_err_and(|why| why.contains("longer")));
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "[-+*/%^(),.0-9 a-eπ²×_]{0,80}") {
            let _ = result(&text);
        }
        #[test]
        fn integers_agree_with_integer_arithmetic(a in -9_999i64..9_999, b in -9_999i64..9_999, c in 1i64..999) {
            prop_assert_eq!(result(&format!("({a} + {b}) * {c} - {b}")), Ok(json!((a + b) * c - b)));
        }
    }
}
