-- The state is written anew by each version of the software; the request stays as it was. None where both
-- are still as the first one wrote them.
ALTER TABLE orders ADD COLUMN state_version INTEGER;
