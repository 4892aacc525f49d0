//! Splits Rust text into code tokens and comments.
//!
//! It knows just enough of the language to tell code from text: comments nest, strings may be raw, and a quote may
//! start a character or a lifetime. Invariant: it takes any text, also one that does not compile, and never fails.

use super::{Comment, Token};

/// Tokens and comments of the text, in order.
pub(super) fn split(text: &str) -> (Vec<Token>, Vec<Comment>) {
    let mut lexer = Lexer {
        chars: text.chars().collect(),
        position: 0,
        line: 1,
        tokens: Vec::new(),
        comments: Vec::new(),
    };
    lexer.run();
    (lexer.tokens, lexer.comments)
}

struct Lexer {
    chars: Vec<char>,
    position: usize,
    line: usize,
    tokens: Vec<Token>,
    comments: Vec<Comment>,
}

impl Lexer {
    fn run(&mut self) {
        while let Some(next) = self.peek(0) {
            match next {
                '/' if self.peek(1) == Some('/') => self.line_comment(),
                '/' if self.peek(1) == Some('*') => self.block_comment(),
                '"' => self.string(),
                '\'' => self.quote(),
                _ if is_word(next) => self.word(),
                _ if next.is_whitespace() => self.advance(),
                ':' if self.peek(1) == Some(':') => {
                    self.push("::".to_owned(), self.line);
                    self.advance();
                    self.advance();
                }
                _ => {
                    self.push(next.to_string(), self.line);
                    self.advance();
                }
            }
        }
    }

    fn peek(&self, ahead: usize) -> Option<char> {
        self.chars.get(self.position + ahead).copied()
    }

    fn advance(&mut self) {
        if self.peek(0) == Some('\n') {
            self.line += 1;
        }
        self.position += 1;
    }

    fn push(&mut self, text: String, line: usize) {
        self.tokens.push(Token { text, line, in_test: false });
    }

    fn line_comment(&mut self) {
        let line = self.line;
        let mut text = String::new();
        while let Some(next) = self.peek(0).filter(|next| *next != '\n') {
            text.push(next);
            self.advance();
        }
        self.comments.push(Comment { text, line });
    }

    fn block_comment(&mut self) {
        let mut depth = 0_usize;
        let mut text = String::new();
        while let Some(next) = self.peek(0) {
            let pair = (next, self.peek(1));
            if pair == ('/', Some('*')) {
                depth += 1;
                self.advance();
            } else if pair == ('*', Some('/')) {
                depth -= 1;
                self.advance();
            } else if next == '\n' {
                self.comments.push(Comment { text: std::mem::take(&mut text), line: self.line });
            } else {
                text.push(next);
            }
            self.advance();
            if depth == 0 {
                break;
            }
        }
        self.comments.push(Comment { text, line: self.line });
    }

    fn string(&mut self) {
        self.advance();
        while let Some(next) = self.peek(0) {
            self.advance();
            match next {
                '\\' => self.advance(),
                '"' => return,
                _ => {}
            }
        }
    }

    fn raw_string(&mut self, hashes: usize) {
        self.advance();
        while let Some(next) = self.peek(0) {
            self.advance();
            if next == '"' && (0..hashes).all(|ahead| self.peek(ahead) == Some('#')) {
                (0..hashes).for_each(|_| self.advance());
                return;
            }
        }
    }

    /// A character such as `'a'` or `'\n'`, or else a lifetime, which is passed over.
    fn quote(&mut self) {
        self.advance();
        if self.peek(0) == Some('\\') {
            self.advance();
            self.advance();
            while self.peek(0).is_some_and(|next| next != '\'' && next != '\n') {
                self.advance();
            }
            self.advance();
        } else if self.peek(1) == Some('\'') {
            self.advance();
            self.advance();
        } else {
            while self.peek(0).is_some_and(is_word) {
                self.advance();
            }
        }
    }

    /// A word or number, unless it is the prefix of a string.
    fn word(&mut self) {
        let line = self.line;
        let mut text = String::new();
        while let Some(next) = self.peek(0).filter(|next| is_word(*next)) {
            text.push(next);
            self.advance();
        }
        let is_raw = matches!(text.as_str(), "r" | "br" | "cr");
        let hashes = self.chars[self.position..].iter().take_while(|next| **next == '#').count();
        if is_raw && self.peek(hashes) == Some('"') {
            (0..hashes).for_each(|_| self.advance());
            self.raw_string(hashes);
        } else if matches!(text.as_str(), "b" | "c") && self.peek(0) == Some('"') {
            self.string();
        } else if text == "b" && self.peek(0) == Some('\'') {
            self.quote();
        } else if text == "r" && hashes == 1 {
            self.advance();
            self.word();
        } else {
            self.push(text, line);
        }
    }
}

fn is_word(character: char) -> bool {
    character.is_alphanumeric() || character == '_'
}
