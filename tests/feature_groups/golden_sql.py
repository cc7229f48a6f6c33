"""Queries in the dialect that users write, each with the rows that it must give over three small tables.

Every value was worked out by hand from the documentation of Spark SQL; where Spark and the engine differ by nature,
the rows are Spark's.
"""

# ruff: noqa: E501 - a query is read best in one line
from typing import Any, NamedTuple

#: Table -> its columns (with the engine's types) and rows.
TABLES: dict[str, tuple[dict[str, str], list[tuple[Any, ...]]]] = {
    "events": (
        {"id": "BIGINT", "customer": "VARCHAR", "amount": "DOUBLE", "day": "DATE", "at": "TIMESTAMP"},
        [
            (1, "ann", 10.0, "2024-01-01", "2024-01-01 10:30:00"),
            (2, "ann", 20.5, "2024-01-31", "2024-01-31 23:59:59"),
            (3, "bob", None, "2024-03-01", "2024-03-01 00:00:00"),
            (4, None, 7.0, "2023-06-15", None),
        ],
    ),
    "customers": (
        {"customer": "VARCHAR", "Country": "VARCHAR", "tags": "VARCHAR"},
        [("ann", "FR", "a,b"), ("bob", None, ""), ("cyd", "DE", "c")],
    ),
    "empty_table": ({"id": "BIGINT", "name": "VARCHAR"}, []),
}


class Golden(NamedTuple):
    """A query and its rows; dates are ISO text, and rows come in the query's own order."""

    name: str
    query: str
    rows: list[tuple[Any, ...]]


QUERIES = [
    Golden("if", "SELECT id, IF(amount > 9, 'big', 'small') s FROM events ORDER BY id",
           [(1, "big"), (2, "big"), (3, "small"), (4, "small")]),
    Golden("concat is null when a part is", "SELECT CONCAT(customer, '-', id) c FROM events ORDER BY id",
           [("ann-1",), ("ann-2",), ("bob-3",), (None,)]),
    Golden("concat_ws skips nulls", "SELECT CONCAT_WS('/', customer, 'x') c FROM events ORDER BY id",
           [("ann/x",), ("ann/x",), ("bob/x",), ("x",)]),
    Golden("interval", "SELECT id FROM events WHERE day > DATE '2024-03-01' - INTERVAL 180 DAY ORDER BY id",
           [(1,), (2,), (3,)]),
    Golden("interval in plural", "SELECT id FROM events WHERE at >= TIMESTAMP '2024-01-31 23:59:59' - INTERVAL 2 HOURS ORDER BY id",
           [(2,), (3,)]),
    Golden("using", "SELECT id, customer, Country FROM events JOIN customers USING (customer) ORDER BY id",
           [(1, "ann", "FR"), (2, "ann", "FR"), (3, "bob", None)]),
    Golden("left join", "SELECT c.customer, e.id FROM customers c LEFT JOIN events e ON e.customer = c.customer ORDER BY c.customer, e.id",
           [("ann", 1), ("ann", 2), ("bob", 3), ("cyd", None)]),
    Golden("left anti join", "SELECT customer FROM customers LEFT ANTI JOIN events USING (customer)", [("cyd",)]),
    Golden("left semi join", "SELECT customer FROM customers LEFT SEMI JOIN events USING (customer) ORDER BY 1", [("ann",), ("bob",)]),
    Golden("columns are found in any case", "SELECT COUNTRY, Events.ID FROM events, customers WHERE events.Customer = customers.customer ORDER BY events.id",
           [("FR", 1), ("FR", 2), (None, 3)]),
    Golden("window", "SELECT id, ROW_NUMBER() OVER (PARTITION BY customer ORDER BY day DESC) n FROM events ORDER BY id",
           [(1, 2), (2, 1), (3, 1), (4, 1)]),
    Golden("running sum", "SELECT id, SUM(amount) OVER (ORDER BY id ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) s FROM events ORDER BY id",
           [(1, 10.0), (2, 30.5), (3, 30.5), (4, 37.5)]),
    Golden("lag", "SELECT id, LAG(amount, 1, 0.0) OVER (ORDER BY id) p FROM events ORDER BY id",
           [(1, 0.0), (2, 10.0), (3, 20.5), (4, None)]),
    Golden("common table expression", "WITH big AS (SELECT * FROM events WHERE amount >= 10), n AS (SELECT COUNT(*) c FROM big) SELECT c FROM n", [(2,)]),
    Golden("a common table expression may bear a table's name", "WITH events AS (SELECT 1 AS id) SELECT id FROM events", [(1,)]),
    Golden("nulls come first", "SELECT amount FROM events ORDER BY amount", [(None,), (7.0,), (10.0,), (20.5,)]),
    Golden("nulls come last when descending", "SELECT amount FROM events ORDER BY amount DESC", [(20.5,), (10.0,), (7.0,), (None,)]),
    Golden("date_add", "SELECT date_add(day, 30) d FROM events ORDER BY id",
           [("2024-01-31",), ("2024-03-01",), ("2024-03-31",), ("2023-07-15",)]),
    Golden("date_sub", "SELECT date_sub(day, 1) d FROM events WHERE id = 3", [("2024-02-29",)]),
    Golden("add_months", "SELECT add_months(day, 1) d FROM events WHERE id = 2", [("2024-02-29",)]),
    Golden("datediff is end minus start", "SELECT datediff(DATE '2024-03-01', day) d FROM events ORDER BY id", [(60,), (30,), (0,), (260,)]),
    Golden("months_between", "SELECT CAST(months_between(DATE '2024-03-01', DATE '2024-01-01') AS INT) m", [(2,)]),
    Golden("date_format", "SELECT date_format(at, 'yyyy-MM-dd HH:mm') f FROM events WHERE id < 3 ORDER BY id", [("2024-01-01 10:30",), ("2024-01-31 23:59",)]),
    Golden("to_date", "SELECT to_date('31/01/2024', 'dd/MM/yyyy') d, to_date('2024-02-03') e", [("2024-01-31", "2024-02-03")]),
    Golden("parts of dates", "SELECT year(day), month(day), dayofmonth(day), quarter(day), dayofweek(day) FROM events WHERE id = 1", [(2024, 1, 1, 1, 2)]),
    Golden("date_trunc", "SELECT CAST(date_trunc('MONTH', at) AS DATE) d, trunc(day, 'MM') e FROM events WHERE id = 2", [("2024-01-01", "2024-01-01")]),
    Golden("last_day", "SELECT last_day(day) d FROM events WHERE id = 1", [("2024-01-31",)]),
    Golden("unix_timestamp", "SELECT unix_timestamp(at) u FROM events WHERE id = 3", [(1709251200,)]),
    Golden("from_unixtime", "SELECT from_unixtime(0, 'yyyy-MM-dd') u", [("1970-01-01",)]),
    Golden("nvl and coalesce", "SELECT NVL(amount, 0.0), COALESCE(customer, 'nobody') FROM events WHERE id > 2 ORDER BY id", [(0.0, "bob"), (7.0, "nobody")]),
    Golden("division is of real numbers", "SELECT 7 / 2 d, 7 DIV 2 i, 7 % 4 m, -7 DIV 2 n", [(3.5, 3, 3, -3)]),
    Golden("division by zero is null", "SELECT id / 0 d, id % 0 m FROM events WHERE id = 1", [(None, None)]),
    Golden("rounding goes away from zero", "SELECT ROUND(2.5) a, ROUND(-2.5) b, FLOOR(-1.5) c, CEIL(1.2) d", [(3.0, -3.0, -2, 2)]),
    Golden("substring", "SELECT SUBSTRING(customer, 1, 2) s, SUBSTR(customer, -2) t FROM events WHERE id = 1", [("an", "nn")]),
    Golden("text functions", "SELECT UPPER('aB'), LOWER('aB'), TRIM('  a '), LENGTH('abc'), REPLACE('aba', 'a', 'c'), INSTR('abc', 'c'), LPAD('7', 3, '0'), INITCAP('ann lee')",
           [("AB", "ab", "a", 3, "cbc", 3, "007", "Ann Lee")]),
    Golden("rlike and like", "SELECT id FROM events WHERE customer RLIKE '^a' AND customer LIKE '%n' ORDER BY id", [(1,), (2,)]),
    Golden("regexp_extract and regexp_replace", "SELECT regexp_extract('id-42', '([a-z]+)-([0-9]+)', 2) e, regexp_replace('a1b2', '[0-9]', '#') r", [("42", "a#b#")]),
    Golden("split and size", "SELECT split(tags, ',')[0] f, size(split(tags, ',')) n FROM customers ORDER BY customer", [("a", 2), ("", 1), ("c", 1)]),
    Golden("explode", "SELECT customer, tag FROM customers LATERAL VIEW explode(split(tags, ',')) t AS tag ORDER BY customer, tag",
           [("ann", "a"), ("ann", "b"), ("bob", ""), ("cyd", "c")]),
    Golden("explode in the select", "SELECT explode(array(3, 1)) x ORDER BY x", [(1,), (3,)]),
    Golden("collect_list", "SELECT customer, sort_array(collect_list(id)) ids FROM events WHERE customer IS NOT NULL GROUP BY customer ORDER BY customer",
           [("ann", [1, 2]), ("bob", [3])]),
    Golden("collections skip nulls", "SELECT size(collect_set(amount)) n, size(collect_list(amount)) m FROM events", [(3, 3)]),
    Golden("aggregates", "SELECT COUNT(*), COUNT(amount), COUNT(DISTINCT customer), SUM(amount), AVG(amount), MIN(day), MAX(day) FROM events",
           [(4, 3, 2, 37.5, 12.5, "2023-06-15", "2024-03-01")]),
    Golden("having", "SELECT customer, COUNT(*) c FROM events GROUP BY customer HAVING COUNT(*) > 1", [("ann", 2)]),
    Golden("group by position and alias", "SELECT year(day) y, COUNT(*) c FROM events GROUP BY 1 ORDER BY y", [(2023, 1), (2024, 3)]),
    Golden("filter of an aggregate", "SELECT COUNT(*) FILTER (WHERE amount > 9) c FROM events", [(2,)]),
    Golden("count_if", "SELECT count_if(amount > 9) c FROM events", [(2,)]),
    Golden("first value that is no null", "SELECT first(amount, true) f FROM (SELECT amount FROM events ORDER BY amount) t", [(7.0,)]),
    Golden("case", "SELECT CASE WHEN amount IS NULL THEN 'none' WHEN amount < 10 THEN 'low' ELSE 'high' END c FROM events ORDER BY id",
           [("high",), ("high",), ("none",), ("low",)]),
    Golden("casts that fail give null", "SELECT CAST('x' AS INT) a, CAST('12' AS INT) b, INT('7') c, DOUBLE('1.5') d, CAST(3.9 AS INT) e", [(None, 12, 7, 1.5, 3)]),
    Golden("union", "SELECT customer FROM events WHERE id = 1 UNION SELECT customer FROM customers ORDER BY customer", [("ann",), ("bob",), ("cyd",)]),
    Golden("except and intersect", "(SELECT customer FROM customers EXCEPT SELECT customer FROM events) UNION ALL (SELECT customer FROM customers WHERE customer = 'ann' INTERSECT SELECT customer FROM events) ORDER BY customer",
           [("ann",), ("cyd",)]),
    Golden("subquery in where", "SELECT id FROM events WHERE amount = (SELECT MAX(amount) FROM events)", [(2,)]),
    Golden("exists", "SELECT customer FROM customers c WHERE EXISTS (SELECT 1 FROM events e WHERE e.customer = c.customer) ORDER BY 1", [("ann",), ("bob",)]),
    Golden("null-safe equality", "SELECT id FROM events WHERE customer <=> NULL", [(4,)]),
    Golden("backticks", "SELECT `id` AS `the id` FROM `events` WHERE `id` = 1", [(1,)]),
    Golden("double quotes are text", 'SELECT "x" t, id FROM events WHERE customer = "bob"', [("x", 3)]),
    Golden("struct", "SELECT named_struct('a', 1, 'b', 'x').b b", [("x",)]),
    Golden("map", "SELECT map('a', 1, 'b', 2)['b'] b", [(2,)]),
    Golden("array functions", "SELECT array_contains(array(1, 2), 2) a, array_distinct(array(1, 1))[0] b, transform(array(1, 2), x -> x + 1)[1] c", [(True, 1, 3)]),
    Golden("qualify", "SELECT id FROM events QUALIFY ROW_NUMBER() OVER (PARTITION BY customer ORDER BY id) = 1 ORDER BY id", [(1,), (3,), (4,)]),
    Golden("pivot by hand", "SELECT SUM(IF(customer = 'ann', amount, 0)) a, MAX(CASE customer WHEN 'bob' THEN id END) b FROM events", [(30.5, 3)]),
    Golden("greatest skips nulls", "SELECT GREATEST(1, NULL, 3) g, LEAST(2, NULL, 1) l", [(3, 1)]),
    Golden("no rows", "SELECT id, name FROM empty_table", []),
    Golden("no table", "SELECT 1 AS one", [(1,)]),
    Golden("table sample of limits", "SELECT id FROM events ORDER BY id LIMIT 2 OFFSET 1", [(2,), (3,)]),
    Golden("except of columns", "SELECT * EXCEPT (at, day, amount) FROM events WHERE id = 1", [(1, "ann")]),
    Golden("hints are let go", "SELECT /*+ BROADCAST(c) */ COUNT(*) n FROM events e JOIN customers c ON e.customer = c.customer", [(3,)]),
    Golden("text is joined with numbers", "SELECT id || '!' b FROM events WHERE id = 1", [("1!",)]),
    Golden("whole quotients by zero are null", "SELECT id DIV 0 a, 7 DIV id b FROM events WHERE id = 2", [(None, 3)]),
    Golden("a cast to a whole number cuts", "SELECT CAST(amount AS INT) a, CAST(-amount AS BIGINT) b, CAST(customer AS INT) c, CAST(id = 2 AS INT) d FROM events WHERE id = 2", [(20, -20, None, 1)]),
    Golden("unix_timestamp of text", "SELECT unix_timestamp('1970-01-02 00:00:01') a, unix_timestamp('1970-01-02', 'yyyy-MM-dd') b", [(86401, 86400)]),
    Golden("percentile", "SELECT percentile(amount, 0.5) p FROM events", [(10.0,)]),
    Golden("stddev and variance", "SELECT ROUND(stddev(id), 3) s, ROUND(variance(id), 3) v FROM events", [(1.291, 1.667)]),
    Golden("values", "SELECT a, b FROM VALUES (1, 'x'), (2, 'y') AS t(a, b) ORDER BY a", [(1, "x"), (2, "y")]),
]  # fmt: skip
