//! Six-field cron expressions, seconds first, as sets of numbers. No clock is here: somebody else says what time
//! it is. The invariant: an expression that parses has at least one value in every field.

/// A parsed expression.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cron {
    /// Bit `n` stands for the value `n`.
    fields: [u64; 6],
    any_day_of_month: bool,
    any_day_of_week: bool,
}

/// A moment on somebody's calendar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// 0 to 59.
    pub second: u8,
    /// 0 to 59.
    pub minute: u8,
    /// 0 to 23.
    pub hour: u8,
    /// 1 to 31.
    pub day_of_month: u8,
    /// 1 to 12.
    pub month: u8,
    /// 0 to 6, from Sunday.
    pub day_of_week: u8,
}

/// Why a text is no cron expression.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Not six fields.
    #[error("it has {0} fields and needs six: second minute hour day-of-month month day-of-week")]
    FieldCount(usize),
    /// A word such as `@hourly` where none is possible.
    #[error("words such as `{0}` are not possible here")]
    Word(String),
    /// A word that does not exist, `@every` for example.
    #[error("there is no word `{0}`")]
    UnknownWord(String),
    /// A field that does not say any values.
    #[error("the {field} `{text}` is not possible: {why}")]
    Field {
        /// Which field.
        field: &'static str,
        /// What was written.
        text: String,
        /// What is wrong with it.
        why: String,
    },
}

struct Field {
    name: &'static str,
    least: u8,
    most: u8,
    /// Names of the values, from the least upwards.
    names: &'static [&'static str],
}

const MONTHS: [&str; 12] =
    ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const DAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];
const FIELDS: [Field; 6] = [
    Field { name: "second", least: 0, most: 59, names: &[] },
    Field { name: "minute", least: 0, most: 59, names: &[] },
    Field { name: "hour", least: 0, most: 23, names: &[] },
    Field { name: "day of month", least: 1, most: 31, names: &[] },
    Field { name: "month", least: 1, most: 12, names: &MONTHS },
    Field { name: "day of week", least: 0, most: 6, names: &DAYS },
];
const DAY_OF_MONTH: usize = 3;
const DAY_OF_WEEK: usize = 5;

const WORDS: [(&str, &str); 7] = [
    ("@yearly", "0 0 0 1 1 *"),
    ("@annually", "0 0 0 1 1 *"),
    ("@monthly", "0 0 0 1 * *"),
    ("@weekly", "0 0 0 * * 0"),
    ("@daily", "0 0 0 * * *"),
    ("@midnight", "0 0 0 * * *"),
    ("@hourly", "0 0 * * * *"),
];

impl Cron {
    /// Parses six fields.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let parts: Vec<&str> = text.split_whitespace().collect();
        if let Some(word) = parts.first().filter(|part| part.starts_with('@')) {
            return Err(Error::Word((*word).to_owned()));
        }
        let Ok(parts) = <[&str; 6]>::try_from(parts.as_slice()) else {
            return Err(Error::FieldCount(parts.len()));
        };
        let mut fields = [0; 6];
        for ((set, field), text) in fields.iter_mut().zip(&FIELDS).zip(parts) {
            *set = field.parse(text)?;
        }
        let is_any = |text: &str| text.starts_with(['*', '?']);
        Ok(Self {
            fields,
            any_day_of_month: is_any(parts[DAY_OF_MONTH]),
            any_day_of_week: is_any(parts[DAY_OF_WEEK]),
        })
    }

    /// Parses six fields or a word such as `@hourly`.
    pub fn parse_with_words(text: &str) -> Result<Self, Error> {
        let trimmed = text.trim();
        if !trimmed.starts_with('@') {
            return Self::parse(trimmed);
        }
        match WORDS.iter().find(|(word, _)| *word == trimmed) {
            Some((_, expression)) => Self::parse(expression),
            None => Err(Error::UnknownWord(trimmed.to_owned())),
        }
    }

    /// Whether the expression names that moment. When both days are given, either of them is enough.
    pub fn matches(&self, moment: &Moment) -> bool {
        let holds = |index: usize, value: u8| self.fields[index] & (1 << value) != 0;
        let by_month_day = holds(DAY_OF_MONTH, moment.day_of_month);
        let by_week_day = holds(DAY_OF_WEEK, moment.day_of_week);
        let day = if self.any_day_of_month || self.any_day_of_week {
            by_month_day && by_week_day
        } else {
            by_month_day || by_week_day
        };
        holds(0, moment.second)
            && holds(1, moment.minute)
            && holds(2, moment.hour)
            && holds(4, moment.month)
            && day
    }
}

impl Field {
    /// The set of values that a comma list of `*`, `n`, `n-m`, each maybe with `/step`, names.
    fn parse(&self, text: &str) -> Result<u64, Error> {
        let mut set = 0;
        for range in text.split(',') {
            set |= self.range(range).map_err(|why| Error::Field {
                field: self.name,
                text: text.to_owned(),
                why,
            })?;
        }
        Ok(set)
    }

    fn range(&self, text: &str) -> Result<u64, String> {
        let (range, step) = match text.split_once('/') {
            Some((range, step)) => (range, Some(step)),
            None => (text, None),
        };
        let (first, last) = match (range, range.split_once('-')) {
            ("*" | "?", _) => (self.least, self.most),
            (_, Some((first, last))) => (self.value(first)?, self.value(last)?),
            // `n/step` goes on to the end.
            (_, None) if step.is_some() => (self.value(range)?, self.most),
            (_, None) => (self.value(range)?, self.value(range)?),
        };
        let step = match step {
            None => 1,
            Some(step) => {
                step.parse::<u8>().ok().filter(|step| *step > 0).ok_or("a step is a number from 1 up")?
            }
        };
        if first > last {
            return Err(format!("{first} comes after {last}"));
        }
        Ok((first..=last).step_by(usize::from(step)).fold(0, |set, value| set | 1 << value))
    }

    fn value(&self, text: &str) -> Result<u8, String> {
        let lower = text.to_ascii_lowercase();
        if let Some(position) = self.names.iter().position(|name| *name == lower) {
            return Ok(self.least + position as u8);
        }
        let value = text.parse::<u8>().ok().filter(|value| (self.least..=self.most).contains(value));
        value.ok_or_else(|| format!("{} to {} are possible", self.least, self.most))
    }
}

#[cfg(test)]
mod tests {
    use super::{Cron, Error, Moment};

    // Monday, 5 January, 09:30:00.
    const MONDAY: Moment =
        Moment { second: 0, minute: 30, hour: 9, day_of_month: 5, month: 1, day_of_week: 1 };

    #[test]
    fn expressions_name_the_moments_they_say() {
        let table = [
            ("0 30 9 * * *", true),
            ("0 30 9 ? * MON", true),
            ("0 30 9 * jan 1-5", true),
            ("*/15 */10 9 * * *", true),
            ("0 20/5 8-10 * * *", true),
            ("0 30 9 * * TUE,mon", true),
            ("1 30 9 * * *", false),
            ("0 30 9 * * 0", false),
            ("0 30 9 * 2-12 *", false),
            // Both days are given, so either is enough.
            ("0 30 9 5 * 6", true),
            ("0 30 9 6 * 1", true),
            ("0 30 9 6 * 2", false),
        ];
        for (text, expected) in table {
            assert_eq!(Cron::parse(text).map(|cron| cron.matches(&MONDAY)), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_is_no_expression_says_why() {
        assert_eq!(Cron::parse("* * * * *"), Err(Error::FieldCount(5)));
        assert_eq!(Cron::parse(""), Err(Error::FieldCount(0)));
        assert_eq!(Cron::parse("@hourly"), Err(Error::Word("@hourly".to_owned())));
        for text in
            ["60 * * * * *", "* * 24 * * *", "* * * 0 * *", "* * * * 13 *", "* * * * * 7", "* * * * * mo"]
        {
            assert!(matches!(Cron::parse(text), Err(Error::Field { .. })), "{text}");
        }
        for text in [
            "5-1 * * * * *",
            "*/0 * * * * *",
            "1--2 * * * * *",
            ", * * * * *",
            "-1 * * * * *",
            "1/2/3 * * * * *",
        ] {
            assert!(matches!(Cron::parse(text), Err(Error::Field { .. })), "{text}");
        }
    }

    #[test]
    fn words_stand_for_expressions() {
        assert_eq!(Cron::parse_with_words("@hourly"), Cron::parse("0 0 * * * *"));
        assert_eq!(Cron::parse_with_words(" 0 0 0 1 1 * "), Cron::parse_with_words("@yearly"));
        assert_eq!(Cron::parse_with_words("@every 5m"), Err(Error::UnknownWord("@every 5m".to_owned())));
    }
}
