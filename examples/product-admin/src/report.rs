//! What the connections of the pool did after the job.

/// A sale on one of the connections.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sale {
    /// The price that the connection showed.
    pub price: i64,
    /// Why the sale was refused, if it was.
    pub refused: Option<String>,
    /// Whether it is stored after the application was started again.
    pub stored: bool,
}

impl Sale {
    /// The buyer was told that it is sold, and it is not.
    #[must_use]
    pub fn is_lost(&self) -> bool {
        self.refused.is_none() && !self.stored
    }
}

/// One sale on each connection of the pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// What the product costs in truth.
    pub price: i64,
    /// In the order in which the pool gave the connections out.
    pub sales: Vec<Sale>,
}

impl Report {
    /// Connections that showed a price that is no longer true.
    #[must_use]
    pub fn stale(&self) -> usize {
        self.count(|sale| sale.price != self.price)
    }

    /// Sales that failed, and were told to have.
    #[must_use]
    pub fn refused(&self) -> usize {
        self.count(|sale| sale.refused.is_some())
    }

    /// Sales that are gone.
    #[must_use]
    pub fn lost(&self) -> usize {
        self.count(Sale::is_lost)
    }

    /// How much went wrong, all kinds together.
    #[must_use]
    pub fn faults(&self) -> usize {
        self.stale() + self.refused() + self.lost()
    }

    fn count(&self, is: impl Fn(&Sale) -> bool) -> usize {
        self.sales.iter().filter(|sale| is(sale)).count()
    }
}
