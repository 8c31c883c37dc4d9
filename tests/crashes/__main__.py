from tests.crashes.run import main

raise SystemExit(main())
